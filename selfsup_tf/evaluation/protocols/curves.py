"""A picture of all that a run has logged."""

import dataclasses

from selfsup_tf.errors import check
from selfsup_tf.evaluation.flags import RunFlags
from selfsup_tf.evaluation.judged import Judged
from selfsup_tf.evaluation.protocol import Protocol
from selfsup_tf.files import save_figure


@dataclasses.dataclass(frozen=True)
class CurvesFlags(RunFlags):
    """A picture: loss, rate with its warm-up, health and online k-NN over the run."""

    run_dir: str
    """Directory of the run."""


class Curves(Protocol):
    title = "Curves"
    flags = CurvesFlags
    order = 120
    needs = ("log",)

    def reads_files_alone(self, flags: CurvesFlags) -> bool:
        return True

    def run(self, judged: Judged, flags: CurvesFlags) -> None:
        from selfsup_tf.evaluation.curves import draw_panels, training_panels
        from selfsup_tf.evaluation.expected import find_expected

        judged.check_place()
        run = judged.run
        records = run.read_log()
        config = run.read_config() or {}
        panels = training_panels(records, find_expected(config))
        check(
            bool(panels),
            f"a log of a run in {run.path}",
            "none" if not records else "one without a step",
            "Name the directory of a run that has been trained.",
        )
        figure = draw_panels(panels, config)
        print(f"Curves: {save_figure(figure, run.result('curves', '.png'))}")


PROTOCOL = Curves()
