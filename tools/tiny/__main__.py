"""`python -m tools.tiny all --out FOLDER --budget-s SECONDS`: train every tiny model, in that time and whatever it has
come to. Run it again on the same folder and it goes on from there."""

import argparse
import time
from pathlib import Path
from typing import Any

from models.weights import trained
from tools.tiny import animate, experts, sizes, vace


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.tiny", description=__doc__)
    parser.add_argument(
        "what", help="all, words, sheets, ship, strip, picture, or the name of one model: " + ", ".join(names())
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the weights, the log and the sheets")
    parser.add_argument("--budget-s", type=float, default=7200.0)
    parser.add_argument("--steps", type=int, default=0, help="with one model: so many, in place of a time")
    parser.add_argument("--device", default=None, help="cuda or cpu; what there is by default")
    parser.add_argument("--only", default="", help="with `all`: names of models, with commas")
    where = "with `all`: leave the results there too, as archives; with `ship`: the folder, in place of the package's; "
    where += "with `strip`: the picture to make of the videos in --out; with `picture`: where the demo's picture goes"
    parser.add_argument("--pack", type=Path, default=None, help=where)
    parser.add_argument("--side-by-side", action="store_true", help="with `all`: all at once, as a GPU does by default")
    parser.add_argument("--timetable", default="", help='with `all` on a GPU: other shares, "ti2v 0.2 0.6; ..."')
    parser.add_argument("--no-sheets", action="store_true", help="with `all`: draw no sheets at the end")
    parser.add_argument("--small", action="store_true", help="next to nothing at once: to rehearse")
    parser.add_argument("--mode", default="", help="how a step is run: compiled, recorded or plain")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rate", type=float, default=None, help="learning rate at its highest")
    parser.add_argument("--settle-at", type=float, default=0.0, help="with a VAE: when its latents are final")
    parser.add_argument("--begin", type=float, default=0.0, help="with one model: wait till then and for its needs")
    parser.add_argument("--end", type=float, default=0.0, help="with one model: when to end, in place of --budget-s")
    parser.add_argument(
        "--stills", action="store_true", help="with one t2v model: learn from single pictures, before clips"
    )
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.what == "all":
        from tools.tiny import together

        return together.run(given)
    if given.what == "words":
        from tools.tiny import words

        words.save(given.out / "words")
        return 0
    if given.what == "strip":
        from tools.tiny.strip import strip

        strip(sorted(given.out.glob("*.mp4")), given.pack or given.out / "strip.jpg")
        return 0
    if given.what == "picture":
        from tools.tiny.sheets import picture

        picture(given.pack or given.out / "heart.png")
        return 0
    if given.what == "ship":
        from tools.tiny import ship

        print(*ship.ship(given.out, given.pack or trained.FOLDER))
        return 0
    return _one(given)


def _one(given: argparse.Namespace) -> int:
    import torch

    from tools.tiny import lessons, lora_lessons
    from tools.tiny.loop import Budget, Seconds, Steps

    name = given.device or ("cuda" if torch.cuda.is_available() else "cpu")
    mode = given.mode or ("compiled" if name == "cuda" else "plain")
    device = lessons.prepare(name, mode, given.threads)
    effort = lessons.EFFORTS["small" if given.small else device.type]
    place = lessons.Place(given.out, device, effort, mode, given.begin)
    end = given.end or time.time() + given.budget_s
    rate = {"rate": given.rate} if given.rate else {}
    if given.what == "sheets":
        lessons.show(place)
    elif given.what in sizes.VAES:
        settle_at = given.settle_at or time.time() + 0.6 * (end - time.time())
        both: Budget = Seconds(time.time(), settle_at)
        decoder: Budget = Seconds(max(settle_at, time.time()), end)
        if given.steps:
            both, decoder = Steps(given.steps), Steps(given.steps // 3)
        lessons.learn_vae(given.what, place, both, decoder, **rate)
    elif given.what in lora_lessons.NAMES:
        pupil = lora_lessons.LoraPupil(given.what, place)
        lessons.learn(given.what, pupil, place, _budget(given, end), given.rate or lora_lessons.RATE)
    elif given.what in vace.ROLES:
        vace.learn(given.what, place, _budget(given, end), **rate)
    elif given.what == animate.NAME:
        animate.learn(place, _budget(given, end), **rate)
    else:
        lessons.learn_expert(given.what, place, _budget(given, end), **rate, stills=given.stills)
    return 0


def _budget(given: argparse.Namespace, end: float) -> Any:
    """When a lesson is to be over, asked once it begins."""
    from tools.tiny.loop import Seconds, Steps

    return (lambda: Steps(given.steps)) if given.steps else (lambda: Seconds.until(end))


def names() -> list[str]:
    from tools.tiny import lora_lessons

    return [*sizes.VAES, *experts.EXPERTS, *vace.ROLES, animate.NAME, *lora_lessons.NAMES]


if __name__ == "__main__":
    raise SystemExit(main())
