"""``nas predict``: rows through an exported network."""

from __future__ import annotations

import argparse
import json
import sys

from nas.cli.arguments import Commands


def add(commands: Commands) -> None:
    """Declares ``nas predict``."""
    command = commands.add_parser("predict", help="predict with an exported network")
    command.add_argument("model", help="an exported .onnx file")
    command.add_argument(
        "data", help="a table with the columns of the training data, a folder of images, or series (.npz)"
    )
    command.add_argument("--out", metavar="FILE", help="write a .csv, .json or .parquet instead of printing")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=_predict)


def _predict(options: argparse.Namespace) -> int:
    from nas.prediction import predict_file, to_json

    frame = predict_file(
        options.model, options.data, options.out, say=lambda note: print(f"note: {note}", file=sys.stderr)
    )
    if options.out and options.json:
        print(json.dumps({"rows": len(frame), "file": options.out}))
    elif options.out:
        print(f"wrote {len(frame):,} predictions to {options.out}")
    elif options.json:
        sys.stdout.write(to_json(frame))
    else:
        frame.to_csv(sys.stdout, index=False)
    return 0
