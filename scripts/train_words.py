"""Train the small Whisper checkpoint that reads the recorded words, and only those, from `tiktok_mm/assets/words`.

    python scripts/train_words.py                       # train from nothing, then print the figures
    torchrun --nproc-per-node 2 scripts/train_words.py  # the same by two processes, each with its own batches
    python scripts/train_words.py --resume CHECKPOINT --scale 0.2  # go on: a fifth of the steps at half the rate
    python scripts/train_words.py --evaluate            # only the figures

The result is in Whisper's own format: `whisper.load_model('tiktok_mm/assets/whisper-words.pt')`.

A transcript is written as Whisper writes it: per sentence its start, its words and its end. Whisper's decoder
lets a transcript begin at 1.00 s at most; when the first sentence is later, an empty segment (0.00 s, a blank,
the sentence's start) comes before it. A sentence cut by the window's end is left with its start alone, so that
Whisper's next window begins before it.
"""
import argparse, io, sys, time
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

import av
import numpy as np
import torch
import whisper
from torch import distributed as dist, nn
from torch.nn import functional as F
from tqdm import tqdm
from whisper.audio import log_mel_spectrogram
from whisper.model import ModelDimensions, Whisper, sinusoids
from whisper.tokenizer import get_tokenizer

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiktok_mm.speech import HELD_OUT_VOICE, SAMPLE_RATE, VOICES, WORDS, say

CHECKPOINT = Path(__file__).parents[1]/'tiktok_mm'/'assets'/'whisper-words.pt'
TRAINING_VOICES = [v for v in VOICES if v != HELD_OUT_VOICE]
DIMS = ModelDimensions(n_mels=80, n_audio_ctx=1500, n_audio_state=64, n_audio_head=4, n_audio_layer=6,
                       n_vocab=51864, n_text_ctx=128, n_text_state=64, n_text_head=4, n_text_layer=2)
WINDOW = 30     # seconds of a whole window
STEP = 0.02     # seconds per encoder position and per timestamp
NEW_SEGMENT = 1.5  # seconds of silence that begin a new segment
LONGEST = 8     # words in a sentence
NOWHERE = (0, 0)  # where a row that is not heard is heard
FIRST_START = 1.0  # seconds: the latest start that Whisper's decoder lets a transcript begin with

# The part of the vocabulary in use has rows of its own; all other tokens share one row, the last.
TOKENIZER = get_tokenizer(multilingual=False)
BLANK, = TOKENIZER.encode(' ')
USED = [TOKENIZER.eot, TOKENIZER.sot, TOKENIZER.no_speech, BLANK,
        *(t for w in WORDS for t in TOKENIZER.encode(f' {w}')),
        *range(TOKENIZER.timestamp_begin, DIMS.n_vocab)]
EOT, SOT, NO_SPEECH, SPACE, FIRST_WORD = range(5)
ZERO = FIRST_WORD + len(WORDS)  # the row of <|0.00|>
N_UNUSED = DIMS.n_vocab - len(USED)


# --- sounds -------------------------------------------------------------------------------------------------

def noise(rng, n):
    "`n` samples of noise at RMS 1, anywhere between white and brown"
    spectrum = np.fft.rfft(rng.standard_normal(n).astype(np.float32))
    spectrum *= np.maximum(np.arange(len(spectrum)), n/400)**-rng.uniform(0, 1.5)
    audio = np.fft.irfft(spectrum, n)
    return (audio/audio.std()).astype(np.float32)


def note(rng, pitch, n):
    "`n` samples of one decaying note of MIDI number `pitch` with a few harmonics"
    t, hertz = np.arange(n)/SAMPLE_RATE, 440*2**((pitch - 69)/12)
    waves = [np.sin(2*np.pi*hertz*k*t + rng.uniform(0, 6))/k**rng.uniform(0.8, 2) for k in range(1, rng.integers(2, 7))]
    return sum(waves)*np.exp(-t*rng.uniform(0, 6))*np.minimum(1, t/0.01)


def chords(rng, n):
    "`n` samples of music-like chords at RMS 1, with or without a beat"
    beat, audio, drum = round(rng.uniform(0.2, 1)*SAMPLE_RATE), np.zeros(n), rng.uniform(0, 2)*(rng.random() < 0.5)
    for at in range(0, n, beat):
        root, length = rng.integers(40, 76), min(beat, n - at)
        for step in ((0,), (0, 7), (0, 4, 7), (0, 3, 7, 10))[rng.integers(4)]:
            audio[at:at+length] += note(rng, root + step, length)
        hit = min(length, 1600)
        audio[at:at+hit] += drum*rng.standard_normal(hit)*np.exp(-np.arange(hit)/300)
    return (audio/audio.std()).astype(np.float32)


def backgrounds(rng, n, seconds=45):
    "`n` pieces of background of each kind, as {kind: float32 (n, samples)}"
    make = {'noise': noise, 'chords': chords}
    return {k: np.stack([f(rng, seconds*SAMPLE_RATE) for _ in range(n)]) for k, f in make.items()}


def crop(rng, pieces, n):
    "`n` consecutive samples from anywhere in one of `pieces`"
    piece = pieces[rng.integers(len(pieces))]
    at = rng.integers(len(piece) - n + 1)
    return piece[at:at + n]


def through_aac(audio, kilobits):
    "`audio` after AAC at `kilobits` per second in an mp4 file: float32 at 16 kHz"
    file = io.BytesIO()
    with av.open(file, 'w', format='mp4') as out:
        stream = out.add_stream('aac', rate=SAMPLE_RATE, layout='mono', bit_rate=1000*kilobits)
        frame = av.AudioFrame.from_ndarray(audio[None].astype(np.float32), format='fltp', layout='mono')
        frame.sample_rate = SAMPLE_RATE
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as box: heard = [f.to_ndarray()[0] for f in box.decode(audio=0)][1:]  # the first frame is the encoder's delay
    return np.pad(np.concatenate(heard), (0, len(audio)))[:len(audio)]


# --- clips --------------------------------------------------------------------------------------------------

def sentence_lengths(rng, most):
    "How many words each sentence has, `most` together: none in one clip of ten"
    n, lengths = (rng.random() > 0.1)*rng.integers(1, most + 1), []
    while n:
        lengths.append(min(n, rng.integers(1, LONGEST + 1)))
        n -= lengths[-1]
    return lengths


def shorter(sound, spans):
    "A list of the same sentence without its last word, empty when that was the only one"
    spans = spans[:-1]
    return [(sound[:round(spans[-1][2]*SAMPLE_RATE)], spans)] if spans else []


def speech(rng, seconds, lengths, voices):
    "Sentences of `lengths` words, less those that do not fit in `seconds`: float32 samples and each [(word, start, end), ...]"
    said = [say(rng.choice(WORDS, n), rng.choice(voices), rng, speed=rng.uniform(0.85, 1.2), gap=rng.uniform(0.03, 0.5))
            for n in lengths]
    spare = lambda: seconds - NEW_SEGMENT*(len(said) - 1) - sum(len(sound) for sound, _ in said)/SAMPLE_RATE
    while said and spare() < 0: said[-1:] = shorter(*said[-1])
    audio, sentences, at = np.zeros(round(seconds*SAMPLE_RATE), np.float32), [], 0
    for (sound, spans), rest in zip(said, rng.dirichlet(np.ones(len(said) + 1))*spare()):
        at += rest
        first = round(at*SAMPLE_RATE)
        audio[first:first + len(sound)] = (sound*rng.uniform(0.5, 1))[:len(audio) - first]
        sentences.append([(word, at + a, at + b) for word, a, b in spans])
        at += len(sound)/SAMPLE_RATE + NEW_SEGMENT
    return audio, sentences


def coloured(rng, audio):
    "`audio` with a random tilt of its spectrum"
    return audio - rng.uniform(-0.4, 0.7)*np.concatenate([[0], audio[:-1]]).astype(np.float32)


def mixed(rng, audio, pool, share=0.5, quietest=40, loudest=5):
    "`audio` with a `share` of the backgrounds of `pool`, each `loudest` to `quietest` dB below the speech"
    for pieces in pool.values():
        if rng.random() < share:
            audio = audio + 0.1*10**(-rng.uniform(loudest, quietest)/20)*crop(rng, pieces, len(audio))
    return np.clip(audio*rng.uniform(0.2, 1.2), -1, 1)


def wordless(rng, n, pool, kind=None):
    "`n` samples without a word: silence, noise or chords"
    kind = kind or rng.choice(['silence', *pool])
    if kind != 'silence': return 10**rng.uniform(-2.5, -0.7)*crop(rng, pool[kind], n)
    return np.zeros(n, np.float32) if rng.random() < 0.3 else 1e-4*rng.random()*rng.standard_normal(n).astype(np.float32)


def transcript(sentences):
    "Rows of the vocabulary that Whisper shall write for a window's `sentences`, and the seconds at which each is heard"
    rows, spans, stamp = [SOT], [NOWHERE], lambda seconds: ZERO + round(seconds/STEP)
    for words in sentences:
        start, end = words[0][1], words[-1][2]
        if start >= WINDOW: break
        around = (start - 0.1, start + 0.2)
        if len(rows) == 1 and start > FIRST_START: rows, spans = [SOT, ZERO, SPACE, stamp(start)], [NOWHERE]*3 + [around]
        if end > WINDOW: return [*rows, stamp(start), EOT], [*spans, around, NOWHERE]
        rows += [stamp(start), *(FIRST_WORD + WORDS.index(word) for word, _, _ in words), stamp(end)]
        spans += [around, *(span for _, *span in words), (end - 0.2, end + 0.1)]
    return ([*rows, EOT], [*spans, NOWHERE]) if len(rows) > 1 else ([SOT, ZERO, EOT], [NOWHERE]*3)


# --- batches ------------------------------------------------------------------------------------------------

def frame_words(sentences, n):
    "The word heard at each of `n` encoder positions and its place in its sentence (2, n), 0 where there is none"
    heard = np.zeros((2, n), np.int64)
    for place, (word, start, end) in (each for s in sentences for each in enumerate(s, 1)):
        heard[:, round(start/STEP):round(end/STEP)] = [[1 + WORDS.index(word)], [place]]
    return heard


def layout(rng, seconds):
    "(a clip's length, when it begins in the 30 s window) for an example of `seconds`, both in seconds"
    if seconds == WINDOW: return rng.choice([rng.uniform(4, WINDOW), WINDOW, rng.uniform(WINDOW, 45)]), 0
    if rng.random() < 0.1: return 1.3*seconds, WINDOW - seconds
    return seconds, STEP*rng.integers((WINDOW - seconds)/STEP)*(rng.random() > 0.2)


def example(rng, seconds, most, share, pool, voices):
    """One part, `seconds` long, of a 30 s window

    Its log-mel (80, 100*seconds), its transcript's rows, when each is heard, each position's word and place and the first position
    """
    length, offset = layout(rng, seconds)
    audio, sentences = speech(rng, length, sentence_lengths(rng, most), voices)
    audio = mixed(rng, coloured(rng, audio), pool, share) if sentences else wordless(rng, len(audio), pool)
    mel = whisper.pad_or_trim(log_mel_spectrogram(audio.astype(np.float32)), round(100*seconds))
    later = [[(word, start + offset, end + offset) for word, start, end in s] for s in sentences]
    return mel, *transcript(later), frame_words(sentences, round(seconds/STEP)), round(offset/STEP)


def soft_targets(rows, length):
    "Probabilities (length, rows) of each next row: a timestamp is shared with its neighbours, silence with no_speech"
    targets = np.zeros((length, len(USED) + 1), np.float32)
    for at, row in enumerate(rows[1:]):
        if row <= ZERO: targets[at, row] = 1; continue
        near = np.arange(max(ZERO + 1, row - 3), min(len(USED), row + 4))
        weight = np.exp(-0.5*((near - row)/1.2)**2)
        targets[at, near] = weight/weight.sum()
    if len(rows) == 3: targets[0, NO_SPEECH], targets[0, ZERO] = 0.9, 0.1
    return targets


def batch(rng, size, seconds, *args):
    """`size` examples as tensors

    The mel, the rows put in, the probabilities of the rows to come, where those are heard (size, length, positions)
    each position's word and place (size, 2, positions) and the first position (size)
    """
    mels, rows, spans, heard, first = zip(*(example(rng, seconds, *args) for _ in range(size)))
    length, first = max(map(len, rows)) - 1, torch.tensor(first)
    at = STEP*(first[:, None, None] + torch.arange(round(seconds/STEP)))
    put = torch.tensor([[*r[:-1], *[EOT]*(length + 1 - len(r))] for r in rows])
    targets = torch.tensor(np.stack([soft_targets(r, length) for r in rows]))
    where = torch.tensor([[*s[1:], *[NOWHERE]*(length + 1 - len(s))] for s in spans])[..., None]
    where = (at >= where[:, :, 0]) & (at < where[:, :, 1])
    return torch.stack(mels), put, targets, where, torch.tensor(np.stack(heard)), first


# --- training -----------------------------------------------------------------------------------------------

def look_around(encoder, reach=(1, 2, 3, 5), fast=8, sharp=2.4):
    """Let the heads of the first blocks begin as a convolution: each looks a fixed number of positions to one side

    The `fast` quickest waves of the positions say where a position lies; a key turns them back by the head's distance.
    """
    waves, half, heads = torch.arange(fast), DIMS.n_audio_state//2, DIMS.n_audio_head
    turn = 10000.**(-waves/(half - 1))
    encoder.conv2.weight.data[torch.cat([waves, half + waves])] *= 0.1  # keeps the sound out of these channels
    for block, step in zip(encoder.blocks, reach):
        query, key = (m.weight.data.mul_(0.1).view(heads, 2, fast, -1) for m in (block.attn.query, block.attn.key))
        for head, distance in enumerate((-2*step, -step, step, 2*step)):
            cos, sin = (sharp*f(turn*distance) for f in (torch.cos, torch.sin))
            query[head, 0, waves, waves] = query[head, 1, waves, half + waves] = sharp
            key[head, 0, waves, waves], key[head, 0, waves, half + waves] = cos, -sin
            key[head, 1, waves, half + waves], key[head, 1, waves, waves] = cos, sin


class Trainee(nn.Module):
    "A Whisper with the rows in use and one row for all others, and a head that names each position's word and its place"
    def __init__(self):
        super().__init__()
        self.whisper = Whisper(ModelDimensions(**{**asdict(DIMS), 'n_vocab': len(USED) + 1}))
        self.head = nn.Linear(DIMS.n_audio_state, 1 + len(WORDS) + 1 + LONGEST)
        self.shared = torch.tensor([0.]*len(USED) + [float(np.log(N_UNUSED))])
        encoder, decoder = self.whisper.encoder, self.whisper.decoder
        for conv in (encoder.conv1, encoder.conv2): conv.weight.data *= 3  # else the positions drown the sound
        look_around(encoder)
        self.asked = []  # queries and keys of the decoder's blocks, as it looks at the sound
        for block in decoder.blocks:
            for layer in (block.cross_attn.query, block.cross_attn.key):
                layer.register_forward_hook(lambda layer, given, out: self.asked.append(out))
        nn.init.normal_(decoder.positional_embedding, std=0.02)
        nn.init.normal_(decoder.token_embedding.weight, std=0.15)
        decoder.token_embedding.weight.data[ZERO:-1] += 0.2*sinusoids(DIMS.n_audio_ctx + 1, DIMS.n_text_state)

    def encode(self, mel, first):
        "Encoder states (n, positions, state) of parts (n, 80, frames) that begin at the positions `first` of their windows"
        encoder = self.whisper.encoder
        x = F.gelu(encoder.conv2(F.gelu(encoder.conv1(mel)))).permute(0, 2, 1)
        x = x + encoder.positional_embedding[first[:, None] + torch.arange(x.shape[1])]
        for block in encoder.blocks: x = block(x)
        return encoder.ln_post(x)

    def forward(self, mel, put, first):
        """What is made of log-mel windows and rows

        The logits of the next rows (n, length, rows) and of each position's word and place (n, positions, words + places),
        and how the decoder looks at the positions (n, blocks*heads, length, positions), before the softmax
        """
        self.asked.clear()
        heard = self.encode(mel, first)
        logits = self.whisper.decoder(put, heard) + self.shared
        heads = [x.unflatten(-1, (DIMS.n_text_head, -1)).transpose(1, 2) for x in self.asked]
        looks = [q@k.mT/q.shape[-1]**0.5 for q, k in zip(heads[::2], heads[1::2])]
        return logits, self.head(heard), torch.cat(looks, 1)

    def save(self, path):
        "Write Whisper's own format in half precision, every unused token with the last row; the head only serves `load`"
        weights = {k: v.half() for k, v in self.whisper.state_dict().items()}
        rows = weights['decoder.token_embedding.weight']
        full = rows[-1].repeat(DIMS.n_vocab, 1)
        full[USED] = rows[:-1]
        weights['decoder.token_embedding.weight'] = full
        torch.save({'dims': asdict(DIMS), 'model_state_dict': weights, 'head': self.head.state_dict()}, path)

    def load(self, path):
        "Take the weights of a checkpoint that `save` wrote"
        saved = torch.load(path, weights_only=True)
        weights = saved['model_state_dict']
        full = weights['decoder.token_embedding.weight']
        weights['decoder.token_embedding.weight'] = full[[*USED, 0]]
        self.whisper.load_state_dict(weights)
        self.head.load_state_dict(saved['head'])


class Muon(torch.optim.Optimizer):
    "Momentum whose step for each matrix is made orthogonal: learns the blocks in about half the steps of AdamW"
    def __init__(self, params, lr, momentum=0.95): super().__init__(params, dict(lr=lr, momentum=momentum))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            shapes = defaultdict(list)
            for p in group['params']: shapes[p.shape].append(p)
            for matrices in shapes.values(): self.step_alike(matrices, group['lr'], group['momentum'])

    def step_alike(self, matrices, rate, momentum):
        "One step for `matrices` of one shape, taken together"
        grads, state = torch.stack([p.grad for p in matrices]), self.state[matrices[0]]
        mean = state.setdefault('mean', torch.zeros_like(grads)).lerp_(grads, 1 - momentum)
        steps = orthogonal(grads.lerp(mean, momentum))*max(1, grads.shape[1]/grads.shape[2])**0.5
        for p, step in zip(matrices, steps): p.mul_(1 - 0.01*rate).sub_(step, alpha=rate)


def orthogonal(x):
    "Nearly orthogonal matrices close to `x` (n, rows, columns), by five Newton-Schulz iterations"
    if x.shape[1] > x.shape[2]: return orthogonal(x.mT).mT
    x = x/(x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x@x.mT
        x = 3.4445*x + (-4.7750*a + 2.0315*a@a)@x
    return x


STAGES = (  # seconds of the window, most words in it, share of backgrounds, examples per batch, steps
    (3, 5, 0.2, 10, 2500), (8, 10, 0.4, 6, 2500), (30, 20, 0.5, 3, 1000))


def off_target(looks, where):
    "How little half of the decoder's heads look to `where` the row to come is heard: mean of -log of the share"
    looks, where = looks[:, ::2], where[:, None]
    there = torch.where(where, looks, -1e4).logsumexp(-1) - looks.logsumexp(-1)
    return -there[where.any(-1).expand_as(there)].mean()


def loss_of(model, mel, put, targets, where, heard, first):
    "Loss of the transcript and of three helps to learn it, and the shares of words right in the transcript and by position"
    logits, named, looks = model(mel, put, first)
    words, places = named.transpose(1, 2).split([1 + len(WORDS), 1 + LONGEST], dim=1)
    text = -(targets*logits.log_softmax(-1)).sum()/targets.sum()
    helps = 3*F.cross_entropy(words, heard[:, 0]) + F.cross_entropy(places, heard[:, 1]) + 0.5*off_target(looks, where)
    is_word, spoken = targets[..., FIRST_WORD:ZERO].sum(-1) > 0, heard[:, 0] > 0
    right = lambda read, said, where: (read == said)[where].float().mean().item()
    return text + helps, right(logits.argmax(-1), targets.argmax(-1), is_word), right(words.argmax(1), heard[:, 0], spoken)


def optimisers(model):
    "Muon for the matrices of the blocks, AdamW for all else"
    matrices = [p for name, p in model.named_parameters() if 'blocks' in name and p.ndim == 2]
    rest = [p for name, p in model.named_parameters() if not ('blocks' in name and p.ndim == 2)]
    return Muon(matrices, lr=0.02), torch.optim.AdamW(rest, lr=4e-3, betas=(0.9, 0.98), weight_decay=0.01)


def rank(): return dist.get_rank() if dist.is_initialized() else 0


def average(model):
    "Give all processes that train together the mean of their gradients"
    if not dist.is_initialized(): return
    grads = torch.cat([p.grad.flatten() for p in model.parameters()])/dist.get_world_size()
    dist.all_reduce(grads)
    nn.utils.vector_to_parameters(grads, [p.grad for p in model.parameters()])


def train(path, start=None, seed=0, scale=1, rate=1):
    "Train for `scale` times the steps of `STAGES` and write `path`; the held-out voice is only listened to for the figures shown"
    torch.manual_seed(seed)
    first = rank() == 0
    rng, model = np.random.default_rng([seed, rank()]), Trainee()
    if start: model.load(start)
    pool, both = backgrounds(rng, 24), optimisers(model)
    plan = [stage[:4] for stage in STAGES for _ in range(round(scale*stage[4]))]
    slower = lambda step: rate*min((step + 1)/50, 1, (len(plan) - step)/(0.5*len(plan)))
    schedules = [torch.optim.lr_scheduler.LambdaLR(o, slower) for o in both]
    bar = tqdm(plan, mininterval=10, disable=not first)
    for step, (seconds, most, share, size) in enumerate(bar):
        loss, *_ = loss_of(model, *batch(rng, size, seconds, most, share, pool, TRAINING_VOICES))
        model.zero_grad()
        loss.backward()
        average(model)
        for each in (*both, *schedules): each.step()
        if first and step % 100 == 99: report(bar, model, step, loss, batch(rng, 2*size, seconds, most, share, pool, [HELD_OUT_VOICE]))
        if first and step % 500 == 499: model.save(path)
    if first: model.save(path)


@torch.no_grad()
def report(bar, model, step, loss, held_out):
    "Print the loss and, for one batch of the held-out voice, the shares of words right in the transcript and by position"
    heard, text, words = loss_of(model, *held_out)
    bar.write(f'step {step + 1}: window {held_out[0].shape[-1]/100:.0f} s, loss {loss.item():.2f}; held-out voice: '
              f'loss {heard.item():.2f}, words {text:.0%}, positions {words:.0%}')


# --- evaluation ---------------------------------------------------------------------------------------------

def distance(said, read):
    "The least number of words to change, leave out or put in between two lists of words"
    row = np.arange(len(read) + 1)
    for i, word in enumerate(said, 1):
        last, row[0] = row.copy(), i
        for j, other in enumerate(read, 1):
            row[j] = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (word != other))
    return row[-1]


def transcribe(model, audio):
    "Whisper's own transcription of float32 `audio` with its default timestamps"
    return whisper.transcribe(model, audio, temperature=0.0, condition_on_previous_text=False, fp16=False)


def test_clip(rng, seconds, lengths, voice, pool):
    "A clip of `voice` with light background noise, 15 to 40 dB below the speech, and its sentences"
    audio, sentences = speech(rng, seconds, lengths, [voice])
    return mixed(rng, audio, pool, loudest=15).astype(np.float32), sentences


def score(model, clips):
    "(words right, seconds between said and read starts and ends) over [(audio, sentences), ...]"
    wrong = total = 0
    off = []
    for audio, sentences in clips:
        result = transcribe(model, audio)
        said = [word for s in sentences for word, _, _ in s]
        wrong, total = wrong + distance(said, result['text'].split()), total + len(said)
        read = [s for s in result['segments'] if s['text']]
        if len(read) == len(sentences):
            off += [(abs(r['start'] - s[0][1]), abs(r['end'] - s[-1][2])) for r, s in zip(read, sentences)]
    return 1 - wrong/total, np.array(off or [(np.nan, np.nan)])


def evaluate(path, clips=12, seed=1):
    "Print what the checkpoint at `path` reads through `whisper.transcribe` on 30 s windows"
    model, rng = whisper.load_model(path, device='cpu'), np.random.default_rng(seed)
    pool = backgrounds(rng, 12, seconds=60)
    voices = {'held-out': [HELD_OUT_VOICE], 'training': TRAINING_VOICES}
    for name, among in voices.items():
        parts = [score(model, [test_clip(rng, WINDOW, [n], rng.choice(among), pool) for _ in range(clips)]) for n in range(1, 9)]
        print(f'{name} voice, words right by sentence length 1 to 8:', *(f'{right:.0%}' for right, _ in parts),
              f'all {sum(n*right for n, (right, _) in enumerate(parts, 1))/36:.1%}')
        print('  median error of segment start and end: {:.2f} s, {:.2f} s'.format(*np.nanmedian(np.concatenate([o for _, o in parts]), 0)))
    several = [test_clip(rng, WINDOW, [3, 4, 3], HELD_OUT_VOICE, pool) for _ in range(clips)]
    right, off = score(model, several)
    print(f'held-out voice, three sentences in one window: {right:.1%}, {len(off)} of {3*clips} segments matched')
    for kilobits in (24, 32, 64):
        print(f'  after AAC at {kilobits} kb/s: {score(model, [(through_aac(a, kilobits), s) for a, s in several])[0]:.1%}')
    right, off = score(model, [test_clip(rng, 60, [5, 4, 6, 3, 5], HELD_OUT_VOICE, pool) for _ in range(clips)])
    print(f'held-out voice, five sentences in 60 s: {right:.1%}, {len(off)} of {5*clips} segments matched')
    for kind in ('silence', *pool):
        audio = [wordless(rng, rng.integers(5, 31)*SAMPLE_RATE, pool, kind).astype(np.float32) for _ in range(2*clips)]
        print(f'{kind}: empty text for {np.mean([not transcribe(model, a)["text"].strip() for a in audio]):.0%}')
    start = time.perf_counter()
    for audio, _ in several: transcribe(model, audio)
    print(f'one 30 s window on one thread: {(time.perf_counter() - start)/clips:.2f} s')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--scale', type=float, default=1, help='share of the steps of STAGES to make')
    parser.add_argument('--resume', type=Path, help='go on with this checkpoint, at half the rate')
    parser.add_argument('--evaluate', action='store_true', help='only print the figures')
    parser.add_argument('--path', type=Path, default=CHECKPOINT)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)  # with more, each waits for the others, and for other programs
    if dist.is_torchelastic_launched(): dist.init_process_group('gloo')
    if not args.evaluate: train(args.path, args.resume, args.seed, args.scale, rate=0.5 if args.resume else 1)
    if rank() == 0: evaluate(args.path)


if __name__ == '__main__': main()
