"""Train the small Whisper checkpoint that transcribes the recorded words of `tiktok_mm/assets/words`, and only those.

    torchrun --nproc-per-node 2 scripts/train_words.py  # train from scratch, an hour on two cores, and evaluate
    python scripts/train_words.py --evaluate            # only evaluate

The result is in Whisper's own format: `whisper.load_model('tiktok_mm/assets/whisper-words.pt')`.

Training has three stages. The encoder is trained to name, at each position, the word of the speech and its index in the
window: in short windows, which are cheap, then in longer ones. The decoder is trained to write the words in that order,
from the states of whole windows, which are computed once. Then both are trained together. A transcript is one segment:
it begins at 0.00 s, ends where the last word ends, and omits a word that is cut off by the end of the window.
"""

import argparse
import io
import sys
import time
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

import av
import numpy as np
import torch
import whisper
from torch import distributed as dist
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm
from whisper.audio import log_mel_spectrogram
from whisper.model import ModelDimensions, Whisper, sinusoids
from whisper.tokenizer import get_tokenizer

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiktok_mm.lib.media import SAMPLE_RATE
from tiktok_mm.synthetic.speech import HELD_OUT_VOICE, VOICES, WORDS, synthesize

CHECKPOINT = Path(__file__).parents[1] / "tiktok_mm" / "assets" / "whisper-words.pt"
TRAINING_VOICES = [v for v in VOICES if v != HELD_OUT_VOICE]
DIMS = ModelDimensions(
    n_mels=80,
    n_audio_ctx=1500,
    n_audio_state=64,
    n_audio_head=4,
    n_audio_layer=6,
    n_vocab=51864,
    n_text_ctx=128,
    n_text_state=64,
    n_text_head=4,
    n_text_layer=2,
)
WINDOW = 30  # seconds of a whole window
STEP = 0.02  # seconds per encoder position and per timestamp
PAUSE = 1.5  # seconds of silence between two sentences, at least
LONGEST = 8  # words in a sentence
MOST = 12  # words in a window
NO_TIME = (0, 0)  # start and end of a row of the vocabulary that is not a word, in s

# The part of the vocabulary in use has rows of its own; all other tokens share one row, the last.
TOKENIZER = get_tokenizer(multilingual=False)
USED = [
    TOKENIZER.eot,
    TOKENIZER.sot,
    TOKENIZER.no_speech,
    *(t for w in WORDS for t in TOKENIZER.encode(f" {w}")),
    *range(TOKENIZER.timestamp_begin, DIMS.n_vocab),
]
EOT, SOT, NO_SPEECH, FIRST_WORD = range(4)
ZERO = FIRST_WORD + len(WORDS)  # the row of <|0.00|>
N_UNUSED = DIMS.n_vocab - len(USED)


# --- sounds -------------------------------------------------------------------------------------------------


def noise(rng, n):
    "`n` samples of noise at RMS 1, anywhere between white and brown"
    spectrum = np.fft.rfft(rng.standard_normal(n).astype(np.float32))
    spectrum *= np.maximum(np.arange(len(spectrum)), n / 400) ** -rng.uniform(0, 1.5)
    audio = np.fft.irfft(spectrum, n)
    return (audio / audio.std()).astype(np.float32)


def note(rng, pitch, n):
    "`n` samples of one decaying note of MIDI number `pitch` with a few harmonics"
    t, hertz = np.arange(n) / SAMPLE_RATE, 440 * 2 ** ((pitch - 69) / 12)
    waves = [
        np.sin(2 * np.pi * hertz * k * t + rng.uniform(0, 6)) / k ** rng.uniform(0.8, 2)
        for k in range(1, rng.integers(2, 7))
    ]
    return sum(waves) * np.exp(-t * rng.uniform(0, 6)) * np.minimum(1, t / 0.01)


def chords(rng, n):
    "`n` samples of music-like chords at RMS 1, with or without a beat"
    beat, audio, drum = round(rng.uniform(0.2, 1) * SAMPLE_RATE), np.zeros(n), rng.uniform(0, 2) * (rng.random() < 0.5)
    for at in range(0, n, beat):
        root, length = rng.integers(40, 76), min(beat, n - at)
        for step in ((0,), (0, 7), (0, 4, 7), (0, 3, 7, 10))[rng.integers(4)]:
            audio[at : at + length] += note(rng, root + step, length)
        hit = min(length, 1600)
        audio[at : at + hit] += drum * rng.standard_normal(hit) * np.exp(-np.arange(hit) / 300)
    return (audio / audio.std()).astype(np.float32)


def backgrounds(rng, n, seconds=60):
    "`n` windows of background of each kind, as {kind: float32 (n, samples)}"
    make = {"noise": noise, "chords": chords}
    return {k: np.stack([f(rng, seconds * SAMPLE_RATE) for _ in range(n)]) for k, f in make.items()}


def crop(rng, windows, n):
    "`n` consecutive samples from anywhere in one of `windows`"
    piece = windows[rng.integers(len(windows))]
    at = rng.integers(len(piece) - n + 1)
    return piece[at : at + n]


def through_aac(audio, kilobits):
    "`audio` after AAC at `kilobits` per second in an mp4 file: float32 at 16 kHz"
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=SAMPLE_RATE, layout="mono", bit_rate=1000 * kilobits)
        frame = av.AudioFrame.from_ndarray(audio[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as box:
        decoded = [f.to_ndarray()[0] for f in box.decode(audio=0)][1:]  # the first frame is the encoder's delay
    return np.pad(np.concatenate(decoded), (0, len(audio)))[: len(audio)]


# --- clips --------------------------------------------------------------------------------------------------


def sentence_lengths(rng, most):
    "How many words each sentence has, `most` together: none in one clip of ten"
    n, lengths = (rng.random() > 0.1) * rng.integers(1, most + 1), []
    while n:
        lengths.append(min(n, rng.integers(1, LONGEST + 1)))
        n -= lengths[-1]
    return lengths


def shorter(sound, spans):
    "A list of the same sentence without its last word, empty when that was the only one"
    spans = spans[:-1]
    return [(sound[: round(spans[-1][2] * SAMPLE_RATE)], spans)] if spans else []


def speech(rng, seconds, lengths, voices):
    "Sentences of `lengths` words, as many as fit in `seconds`: float32 samples and [(word, start, end), ...]"
    sentences = [
        synthesize(
            rng.choice(WORDS, n), rng.choice(voices), rng, speed=rng.uniform(0.85, 1.2), gap=rng.uniform(0.03, 0.5)
        )
        for n in lengths
    ]

    def spare():
        return seconds - PAUSE * (len(sentences) - 1) - sum(len(sound) for sound, _ in sentences) / SAMPLE_RATE

    while sentences and spare() < 0:
        sentences[-1:] = shorter(*sentences[-1])
    audio, spans, at = np.zeros(round(seconds * SAMPLE_RATE), np.float32), [], 0
    for (sound, words), rest in zip(sentences, rng.dirichlet(np.ones(len(sentences) + 1)) * spare()):
        first = round((at + rest) * SAMPLE_RATE)
        audio[first : first + len(sound)] = (sound * rng.uniform(0.5, 1))[: len(audio) - first]
        spans += [(word, at + rest + a, at + rest + b) for word, a, b in words]
        at += rest + len(sound) / SAMPLE_RATE + PAUSE
    return audio, spans


def coloured(rng, audio):
    "`audio` with a random tilt of its spectrum"
    return audio - rng.uniform(-0.4, 0.7) * np.concatenate([[0], audio[:-1]]).astype(np.float32)


def mixed(rng, audio, pool, share=0.5, quietest=40, loudest=5):
    "`audio` with a `share` of the backgrounds of `pool`, each `loudest` to `quietest` dB below the speech"
    for windows in pool.values():
        if rng.random() < share:
            audio = audio + 0.1 * 10 ** (-rng.uniform(loudest, quietest) / 20) * crop(rng, windows, len(audio))
    return np.clip(audio * rng.uniform(0.2, 1.2), -1, 1)


def wordless(rng, n, pool, kind=None):
    "`n` samples without a word: silence, noise or chords"
    kind = kind or rng.choice(["silence", *pool])
    if kind != "silence":
        return 10 ** rng.uniform(-2.5, -0.7) * crop(rng, pool[kind], n)
    return (
        np.zeros(n, np.float32)
        if rng.random() < 0.3
        else 1e-4 * rng.random() * rng.standard_normal(n).astype(np.float32)
    )


def clip(rng, seconds, lengths, pool, voices):
    "A clip as a phone may record it: float32 samples and [(word, start, end), ...]"
    audio, spans = speech(rng, seconds, lengths, voices)
    audio = mixed(rng, coloured(rng, audio), pool) if spans else wordless(rng, len(audio), pool)
    return (through_aac(audio, rng.integers(24, 65)) if rng.random() < 0.25 else audio).astype(np.float32), spans


def transcript(spans):
    "The rows of the vocabulary that Whisper should write for a window's `spans`, and start and end of each in seconds"
    spans = [each for each in spans if each[2] <= WINDOW][:MOST]
    if not spans:
        return [SOT, ZERO, EOT], [NO_TIME] * 3
    end = spans[-1][2]
    rows = [SOT, ZERO, *(FIRST_WORD + WORDS.index(word) for word, _, _ in spans), ZERO + round(end / STEP), EOT]
    return rows, [NO_TIME, NO_TIME, *((a, b) for _, a, b in spans), (end - 0.2, end + 0.1), NO_TIME]


# --- batches ------------------------------------------------------------------------------------------------


def frame_words(spans, n):
    "The word at each of `n` encoder positions and its index in the window, from 1 (2, n); 0 where there is none"
    labels = np.zeros((2, n), np.int64)
    for index, (word, start, end) in enumerate(spans[:MOST], 1):
        labels[:, round(start / STEP) : round(end / STEP)] = [[1 + WORDS.index(word)], [index]]
    return labels


def layout(rng, seconds):
    "(a clip's length, when it begins in the 30 s window) for an example of `seconds`, both in seconds"
    if seconds == WINDOW:
        return rng.choice([rng.uniform(4, WINDOW), WINDOW, rng.uniform(WINDOW, 45)], p=[0.7, 0.2, 0.1]), 0
    return seconds, STEP * rng.integers((WINDOW - seconds) / STEP) * (rng.random() > 0.3)


def example(rng, seconds, most, pool, voices):
    """One part, `seconds` long, of a 30 s window

    Its log-mel (80, 100*seconds), its words with their times, and its first position in the window
    """
    length, offset = layout(rng, seconds)
    audio, spans = clip(rng, length, sentence_lengths(rng, most), pool, voices)
    return whisper.pad_or_trim(log_mel_spectrogram(audio), round(100 * seconds)), spans, round(offset / STEP)


def soft_target(row):
    "Probabilities of all rows where `row` comes next: a timestamp is shared with its neighbours"
    target = np.zeros(len(USED) + 1, np.float32)
    near = np.arange(max(ZERO + 1, row - 3), min(len(USED), row + 4)) if row > ZERO else np.array([row])
    target[near] = np.exp(-0.5 * ((near - row) / 1.2) ** 2)
    return target / target.sum()


def texts(spans):
    """The decoder's inputs and targets for the `spans` of several windows

    The input rows (n, length), the probabilities of the next rows, and where their sound is (n, length, positions)
    """
    rows, times = zip(*map(transcript, spans))
    length = max(map(len, rows)) - 1
    put = torch.tensor([[*r[:-1], *[EOT] * (length + 1 - len(r))] for r in rows])
    target = torch.zeros(len(rows), length, len(USED) + 1)
    for each, row in zip(target, rows):
        each[: len(row) - 1] = torch.tensor(np.stack([soft_target(r) for r in row[1:]]))
        if len(row) == 3:
            each[0, [NO_SPEECH, ZERO]] = torch.tensor([0.9, 0.1])
    at = STEP * torch.arange(DIMS.n_audio_ctx)
    where = torch.tensor([[*h[1:], *[NO_TIME] * (length + 1 - len(h))] for h in times])[..., None]
    return put, target, (at >= where[:, :, 0]) & (at < where[:, :, 1])


def batch(rng, size, *args):
    "`size` examples: the log-mel (size, 80, frames), spans, each position's word and index, the first positions"
    mels, spans, first = zip(*(example(rng, *args) for _ in range(size)))
    labels = np.stack([frame_words(s, mels[0].shape[1] // 2) for s in spans])
    return torch.stack(mels), spans, torch.tensor(labels), torch.tensor(first)


# --- training -----------------------------------------------------------------------------------------------


def init_attention(encoder, reach=(1, 2, 3, 5), fast=8, sharp=2.4):
    """Initialise the heads of the first blocks as a convolution: each attends at a fixed distance to one side

    The `fast` highest frequencies of the sinusoids encode the position; a key rotates them back by the head's distance.
    """
    waves, half, heads = torch.arange(fast), DIMS.n_audio_state // 2, DIMS.n_audio_head
    turn = 10000.0 ** (-waves / (half - 1))
    encoder.conv2.weight.data[torch.cat([waves, half + waves])] *= 0.1  # keeps the sound out of these channels
    for block, step in zip(encoder.blocks, reach):
        query, key = (m.weight.data.mul_(0.1).view(heads, 2, fast, -1) for m in (block.attn.query, block.attn.key))
        for head, distance in enumerate((-2 * step, -step, step, 2 * step)):
            cos, sin = (sharp * f(turn * distance) for f in (torch.cos, torch.sin))
            query[head, 0, waves, waves] = query[head, 1, waves, half + waves] = sharp
            key[head, 0, waves, waves], key[head, 0, waves, half + waves] = cos, -sin
            key[head, 1, waves, half + waves], key[head, 1, waves, waves] = cos, sin


class TrainableWhisper(nn.Module):
    "A Whisper with the rows in use, one row for all others, and a head for each position's word and its index"

    def __init__(self):
        super().__init__()
        self.whisper = Whisper(ModelDimensions(**{**asdict(DIMS), "n_vocab": len(USED) + 1}))
        self.head = nn.Linear(DIMS.n_audio_state, 1 + len(WORDS) + 1 + MOST)
        self.shared = torch.tensor([0.0] * len(USED) + [float(np.log(N_UNUSED))])
        encoder, decoder = self.whisper.encoder, self.whisper.decoder
        for conv in (encoder.conv1, encoder.conv2):
            conv.weight.data *= 3  # else the positions drown the sound
        init_attention(encoder)
        self.queries_keys = []  # of the cross-attention of the decoder's blocks
        for block in decoder.blocks:
            for layer in (block.cross_attn.query, block.cross_attn.key):
                layer.register_forward_hook(lambda layer, given, out: self.queries_keys.append(out))
        nn.init.normal_(decoder.positional_embedding, std=0.02)
        nn.init.normal_(decoder.token_embedding.weight, std=0.15)
        decoder.token_embedding.weight.data[ZERO:-1] += 0.2 * sinusoids(DIMS.n_audio_ctx + 1, DIMS.n_text_state)

    def encode(self, mel, first):
        "Encoder states (n, positions, state) of parts (n, 80, frames) that begin at positions `first` of their windows"
        encoder = self.whisper.encoder
        x = F.gelu(encoder.conv2(F.gelu(encoder.conv1(mel)))).permute(0, 2, 1)
        x = x + encoder.positional_embedding[first[:, None] + torch.arange(x.shape[1])]
        for block in encoder.blocks:
            x = block(x)
        return encoder.ln_post(x)

    def decode(self, put, states):
        """The decoder's outputs for the input rows `put` and the encoder's `states`

        The logits of the next rows (n, length, rows), and the cross-attention before the softmax
        (n, blocks*heads, length, positions)
        """
        self.queries_keys.clear()
        logits = self.whisper.decoder(put, states) + self.shared
        heads = [x.unflatten(-1, (DIMS.n_text_head, -1)).transpose(1, 2) for x in self.queries_keys]
        return logits, torch.cat([q @ k.mT / q.shape[-1] ** 0.5 for q, k in zip(heads[::2], heads[1::2])], 1)

    def save(self, path):
        "Write Whisper's own format in half precision, all unused tokens with the last row; only `load` reads the head"
        weights = {k: v.half() for k, v in self.whisper.state_dict().items()}
        rows = weights["decoder.token_embedding.weight"]
        full = rows[-1].repeat(DIMS.n_vocab, 1)
        full[USED] = rows[:-1]
        weights["decoder.token_embedding.weight"] = full
        torch.save({"dims": asdict(DIMS), "model_state_dict": weights, "head": self.head.state_dict()}, path)

    def load(self, path):
        "Load the weights of a checkpoint that `save` wrote"
        saved = torch.load(path, weights_only=True)
        weights = saved["model_state_dict"]
        full = weights["decoder.token_embedding.weight"]
        weights["decoder.token_embedding.weight"] = full[[*USED, 0]]
        self.whisper.load_state_dict(weights)
        self.head.load_state_dict(saved["head"])


class Muon(torch.optim.Optimizer):
    "Momentum with orthogonalised steps for matrices: trains the blocks in about half the steps of AdamW"

    def __init__(self, params, lr, momentum=0.95):
        super().__init__(params, dict(lr=lr, momentum=momentum))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            shapes = defaultdict(list)
            for p in group["params"]:
                shapes[p.shape].append(p)
            for matrices in shapes.values():
                self.step_alike(matrices, group["lr"], group["momentum"])

    def step_alike(self, matrices, rate, momentum):
        "One step for `matrices` of one shape, taken together"
        grads, state = torch.stack([p.grad for p in matrices]), self.state[matrices[0]]
        mean = state.setdefault("mean", torch.zeros_like(grads)).lerp_(grads, 1 - momentum)
        steps = orthogonal(grads.lerp(mean, momentum)) * max(1, grads.shape[1] / grads.shape[2]) ** 0.5
        for p, step in zip(matrices, steps):
            p.mul_(1 - 0.01 * rate).sub_(step, alpha=rate)


def orthogonal(x):
    "Nearly orthogonal matrices close to `x` (n, rows, columns), by five Newton-Schulz iterations"
    if x.shape[1] > x.shape[2]:
        return orthogonal(x.mT).mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x


# Seconds of the window, most words in it, examples per batch and process, steps
ENCODER_STAGES = ((3, 4, 24, 800), (6, 8, 16, 1000), (12, 10, 8, 800), (WINDOW, MOST, 3, 500))
DECODER_WINDOWS, DECODER_BATCH, DECODER_STEPS = 2500, 16, 2000  # each for one process
TOGETHER_BATCH, TOGETHER_STEPS = 3, 400


def mean_where(values, where):
    "Mean of the `values` that are `where`, a little less when they are few"
    return (values * where).sum() / (where.sum() + 1)


def encoder_loss(predicted, labels):
    "Cross-entropy of the words and indices `predicted` at the positions, with and without speech"
    words, indices = predicted.transpose(1, 2).split([1 + len(WORDS), 1 + MOST], dim=1)
    word = F.cross_entropy(words, labels[:, 0], reduction="none")
    index = F.cross_entropy(indices, labels[:, 1], reduction="none")
    spoken = labels[:, 0] > 0
    return mean_where(word, spoken) + mean_where(word, ~spoken) + mean_where(index, spoken)


def attention_loss(attention, where):
    "How little half of the decoder's heads attend to the sound of the next row, `where`: mean of -log of the share"
    attention, where = attention[:, ::2], where[:, None]
    share = torch.where(where, attention, -1e4).logsumexp(-1) - attention.logsumexp(-1)
    return -share[where.any(-1).expand_as(share)].mean()


def decoder_loss(model, states, put, target, where):
    "Loss of the transcript that the decoder writes from the encoder's `states`, and of its attention"
    logits, attention = model.decode(put, states)
    return -(target * logits.log_softmax(-1)).sum() / target.sum() + 0.5 * attention_loss(attention, where)


def optimisers(module):
    "Muon for the matrices of the blocks, AdamW for all else"

    def is_matrix(name, p):
        return "blocks" in name and p.ndim == 2

    matrices = [p for name, p in module.named_parameters() if is_matrix(name, p)]
    rest = [p for name, p in module.named_parameters() if not is_matrix(name, p)]
    return Muon(matrices, lr=0.02), torch.optim.AdamW(rest, lr=4e-3, betas=(0.9, 0.98), weight_decay=0.01)


def rank():
    return dist.get_rank() if dist.is_initialized() else 0


def average(module):
    "Give all processes that train together the mean of their gradients"
    if not dist.is_initialized():
        return
    grads = [p.grad for p in module.parameters()]
    flat = torch.cat([g.flatten() for g in grads]) / dist.get_world_size()
    dist.all_reduce(flat)
    nn.utils.vector_to_parameters(flat, grads)


def optimise(module, steps, loss_of, report, rate=1):
    "Minimise `loss_of(step)` over `steps` with the parameters of `module`; show `report(step)` every 200 steps"
    both = optimisers(module)

    def slower(step):
        return rate * min((step + 1) / 50, 1, (steps - step) / (0.6 * steps))

    schedules = [torch.optim.lr_scheduler.LambdaLR(o, slower) for o in both]
    bar = tqdm(range(steps), mininterval=10, disable=rank() > 0)
    for step in bar:
        loss = loss_of(step)
        module.zero_grad()
        loss.backward()
        average(module)
        for each in (*both, *schedules):
            each.step()
        if rank() == 0 and step % 200 == 199:
            bar.write(f"step {step + 1}, loss {loss.item():.2f}; held-out voice: {report(step)}")


@torch.no_grad()
def encoder_accuracy(model, mel, spans, labels, first):
    "The shares of positions with speech whose word and whose index are right"
    words, indices = model.head(model.encode(mel, first)).split([1 + len(WORDS), 1 + MOST], dim=-1)
    spoken = labels[:, 0] > 0

    def right(predicted, labels):
        return (predicted.argmax(-1) == labels)[spoken].float().mean().item()

    return f"words at their positions {right(words, labels[:, 0]):.0%}, indices {right(indices, labels[:, 1]):.0%}"


@torch.no_grad()
def decoder_accuracy(model, states, put, target, where):
    "The share of words that the decoder predicts right, given the words before them"
    logits, _ = model.decode(put, states)
    is_word = target[..., FIRST_WORD:ZERO].sum(-1) > 0
    return f"words predicted {(logits.argmax(-1) == target.argmax(-1))[is_word].float().mean().item():.0%}"


def train_encoder(model, rng, pool):
    "Train the encoder to name the word and its index at each position, in longer and longer windows"
    plan = [stage[:3] for stage in ENCODER_STAGES for _ in range(stage[3])]

    def loss_of(step):
        seconds, most, size = plan[step]
        mel, _, labels, first = batch(rng, size, seconds, most, pool, TRAINING_VOICES)
        return encoder_loss(model.head(model.encode(mel, first)), labels)

    def report(step):
        seconds, most, size = plan[step]
        return f"window {seconds} s, " + encoder_accuracy(
            model, *batch(rng, 2 * size, seconds, most, pool, [HELD_OUT_VOICE])
        )

    optimise(nn.ModuleDict({"encoder": model.whisper.encoder, "head": model.head}), len(plan), loss_of, report)


@torch.no_grad()
def states_of(model, rng, pool, n, voices):
    "The encoder's states for `n` whole windows in half precision (n, positions, state), and their spans"
    states, spans = torch.zeros(n, DIMS.n_audio_ctx, DIMS.n_audio_state, dtype=torch.float16), []
    for each in tqdm(states, "windows", mininterval=10, disable=rank() > 0):
        mel, words, first = example(rng, WINDOW, MOST, pool, voices)
        each[:] = model.encode(mel[None], torch.tensor([first]))[0]
        spans.append(words)
    return states, spans


def train_decoder(model, rng, pool):
    "Train the decoder on the states of whole windows, while the encoder stays as it is"
    states, spans = states_of(model, rng, pool, DECODER_WINDOWS, TRAINING_VOICES)
    held_out, held_out_spans = states_of(model, rng, pool, DECODER_WINDOWS // 25, [HELD_OUT_VOICE])

    def loss_of(step):
        pick = rng.choice(len(spans), DECODER_BATCH, replace=False)
        return decoder_loss(model, states[pick].float(), *texts([spans[i] for i in pick]))

    def report(step):
        return decoder_accuracy(model, held_out.float(), *texts(held_out_spans))

    optimise(model.whisper.decoder, DECODER_STEPS, loss_of, report)


def train_both(model, rng, pool):
    "Train encoder and decoder together on whole windows"
    held_out = batch(rng, 16, WINDOW, MOST, pool, [HELD_OUT_VOICE])

    def loss_of(step):
        mel, spans, labels, first = batch(rng, TOGETHER_BATCH, WINDOW, MOST, pool, TRAINING_VOICES)
        states = model.encode(mel, first)
        return encoder_loss(model.head(states), labels) + decoder_loss(model, states, *texts(spans))

    def report(step):
        mel, spans, _, first = held_out
        with torch.no_grad():
            states = model.encode(mel, first)
        return f"{encoder_accuracy(model, *held_out)}, {decoder_accuracy(model, states, *texts(spans))}"

    optimise(model, TOGETHER_STEPS, loss_of, report, rate=0.2)


STAGES = {"encoder": train_encoder, "decoder": train_decoder, "both": train_both}


def train(path, start=None, stages=STAGES, seed=0):
    "Train all `stages` and write `path` after each; the held-out voice is only used for the figures shown"
    torch.manual_seed(seed)
    rng, model = np.random.default_rng([seed, rank()]), TrainableWhisper()
    if start:
        model.load(start)
    pool = backgrounds(rng, 24)
    for name in stages:
        STAGES[name](model, rng, pool)
        if rank() == 0:
            model.save(path)


# --- evaluation ---------------------------------------------------------------------------------------------


def distance(truth, read):
    "The least number of words to change, delete or insert between two lists of words"
    row = np.arange(len(read) + 1)
    for i, word in enumerate(truth, 1):
        last, row[0] = row.copy(), i
        for j, other in enumerate(read, 1):
            row[j] = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (word != other))
    return row[-1]


def transcribe(model, audio):
    "Whisper's own transcription of float32 `audio` with its default timestamps"
    return whisper.transcribe(model, audio, temperature=0.0, condition_on_previous_text=False, fp16=False)


def test_clip(rng, seconds, lengths, voice, pool):
    "A clip of `voice` with light background noise, 15 to 40 dB below the speech, and its words"
    audio, spans = speech(rng, seconds, lengths, [voice])
    return mixed(rng, audio, pool, loudest=15).astype(np.float32), spans


def score(model, clips):
    "(share of words right, seconds between true and transcribed ends) over [(audio, spans), ...]"
    wrong = total = 0
    off = []
    for audio, spans in clips:
        result = transcribe(model, audio)
        truth, read = [word for word, _, _ in spans], result["text"].split()
        wrong, total = wrong + distance(truth, read), total + len(truth)
        if spans and result["segments"]:
            off.append(abs(result["segments"][-1]["end"] - spans[-1][2]))
    return 1 - wrong / total, off


def evaluate(path, clips=12, seed=1):
    "Print how well the checkpoint at `path` transcribes 30 s windows with `whisper.transcribe`"
    model, rng = whisper.load_model(path, device="cpu"), np.random.default_rng(seed)
    pool = backgrounds(rng, 12)
    for name, among in {"held-out": [HELD_OUT_VOICE], "training": TRAINING_VOICES}.items():
        parts = [
            score(model, [test_clip(rng, WINDOW, [n], rng.choice(among), pool) for _ in range(clips)])
            for n in range(1, 9)
        ]
        print(
            f"{name} voice, words right by sentence length 1 to 8:",
            *(f"{right:.0%}" for right, _ in parts),
            f"all {sum(n * right for n, (right, _) in enumerate(parts, 1)) / 36:.1%}",
        )
        off = np.concatenate([seconds for _, seconds in parts])
        print(f"  median error of the end: {np.median(off):.2f} s")
    several = [test_clip(rng, WINDOW, [3, 4, 3], HELD_OUT_VOICE, pool) for _ in range(clips)]
    print(f"held-out voice, three sentences in one window: {score(model, several)[0]:.1%}")
    for kilobits in (24, 32, 64):
        compressed = [(through_aac(audio, kilobits), spans) for audio, spans in several]
        print(f"  after AAC at {kilobits} kb/s: {score(model, compressed)[0]:.1%}")
    long = [test_clip(rng, 60, [5, 4, 6, 3, 5], HELD_OUT_VOICE, pool) for _ in range(clips)]
    print(f"held-out voice, five sentences in 60 s: {score(model, long)[0]:.1%}")
    for kind in ("silence", *pool):
        audio = [
            wordless(rng, rng.integers(5, 31) * SAMPLE_RATE, pool, kind).astype(np.float32) for _ in range(2 * clips)
        ]
        print(f"{kind}: empty text for {np.mean([not transcribe(model, a)['text'].strip() for a in audio]):.0%}")
    start = time.perf_counter()
    for audio, _ in several:
        transcribe(model, audio)
    print(f"one 30 s window on one thread: {(time.perf_counter() - start) / clips:.2f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--evaluate", action="store_true", help="only print the figures")
    parser.add_argument("--resume", type=Path, help="begin with the weights of this checkpoint")
    parser.add_argument(
        "--stages", nargs="+", choices=STAGES, default=list(STAGES), help="stages of the training, in this order"
    )
    parser.add_argument("--path", type=Path, default=CHECKPOINT)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)  # more threads cost more than they gain at this size
    if dist.is_torchelastic_launched():
        dist.init_process_group("gloo")
    if not args.evaluate:
        train(args.path, args.resume, args.stages, args.seed)
    if rank() == 0:
        evaluate(args.path)


if __name__ == "__main__":
    main()
