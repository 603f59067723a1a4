"""What a notebook shows besides its own results: sentences made from records, and the committed laptop figure."""

from __future__ import annotations

from IPython.display import Image, Markdown, display

from actlab.core.records import ROOT


def say(text: str) -> None:
    """Shows a sentence, in Markdown; for prose with numbers, which is made from the records that it speaks of."""
    display(Markdown(text))


def committed(name: str, profile: str) -> None:
    """Shows the laptop figure of that name as it is committed, beside what another profile just drew."""
    if profile == "laptop":
        return
    path = ROOT / "figures" / f"{name}.png"
    if path.exists():
        say(f"The committed laptop figure, `figures/{name}.png`:")
        display(Image(path))
    else:
        say(f"There is no `figures/{name}.png` yet; `make reproduce` draws it.")
