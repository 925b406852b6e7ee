"A plugin for mypy: what fastcore's `@patch` adds to a class is a method of this class."

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from mypy.nodes import Argument, CallExpr, ClassDef, Decorator, FuncDef, MypyFile, NameExpr
from mypy.plugin import ClassDefContext, Plugin
from mypy.plugins.common import add_attribute_to_class, add_method_to_class
from mypy.types import AnyType, CallableType, Type, TypeOfAny, UnboundType

ROOT = Path(__file__).resolve().parents[1]
PATCH = re.compile(r"^@patch.*\ndef \w+\(\s*self: (\w+)", re.MULTILINE)


@cache
def patching_modules() -> dict[str, set[str]]:
    "The names of the classes that each module of the package patches."
    texts = {path: path.read_text(encoding="utf-8") for path in ROOT.glob("tiktok_mm/**/*.py")}
    found = {path: set(PATCH.findall(text)) for path, text in texts.items()}
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): names for path, names in found.items() if names}


def patched_class(decorator: Decorator) -> str | None:
    "The name of the class that a function with `@patch` names as the type of its first argument."
    first = decorator.original_decorators[-1]
    called = first.callee if isinstance(first, CallExpr) else first
    signature = decorator.func.unanalyzed_type
    if isinstance(called, NameExpr) and called.name == "patch" and isinstance(signature, CallableType):
        owner = signature.arg_types[0] if signature.arg_types else None
        return owner.name if isinstance(owner, UnboundType) else None
    return None


def analyzed(context: ClassDefContext, decorator: Decorator, type_: Type | None) -> Type:
    "A type with its names looked up; anything, where these are names of another module than the class's."
    here = decorator in context.api.modules[context.cls.info.module_name].defs
    return (here and type_ and context.api.anal_type(type_)) or AnyType(TypeOfAny.special_form)


def add_function(context: ClassDefContext, decorator: Decorator) -> None:
    "Add one patched function to the class: a method, a property, or anything if more decorators change it."
    function: FuncDef = decorator.func
    signature = function.unanalyzed_type
    assert isinstance(signature, CallableType)
    result = analyzed(context, decorator, signature.ret_type)
    if isinstance(decorator.original_decorators[-1], CallExpr):  # @patch(as_prop=True)
        add_attribute_to_class(context.api, context.cls, function.name, result)
    elif len(decorator.original_decorators) > 1:
        add_attribute_to_class(context.api, context.cls, function.name, AnyType(TypeOfAny.special_form))
    else:
        arguments = [
            Argument(argument.variable, analyzed(context, decorator, type_), argument.initializer, argument.kind)
            for argument, type_ in zip(function.arguments[1:], signature.arg_types[1:], strict=True)
        ]
        add_method_to_class(context.api, context.cls, function.name, arguments, result)


def add_patches(context: ClassDefContext) -> None:
    "Add what the package patches onto a class; class names are unique in it."
    for module, names in patching_modules().items():
        if context.cls.name in names and module in context.api.modules:
            for node in context.api.modules[module].defs:
                if isinstance(node, Decorator) and patched_class(node) == context.cls.name:
                    add_function(context, node)


class PatchPlugin(Plugin):
    def get_customize_class_mro_hook(self, fullname: str) -> Callable[[ClassDefContext], None] | None:
        return add_patches if fullname.startswith("tiktok_mm.") else None

    def get_additional_deps(self, file: MypyFile) -> list[tuple[int, str, int]]:
        "A module with a class is checked together with the modules that patch it."
        classes = {node.name for node in file.defs if isinstance(node, ClassDef)}
        modules = [module for module, names in patching_modules().items() if names & classes]
        return [(10, module, -1) for module in modules if module != file.fullname]


def plugin(version: str) -> type[Plugin]:
    return PatchPlugin
