"""Many pictures at once: which files, where the results go, and running a tool on all of them."""

from .paths import Job, expand_inputs, plan_outputs
from .run import Outcome, run_batch
from .sheet import before_after, contact_sheet

__all__ = ["Job", "Outcome", "before_after", "contact_sheet", "expand_inputs", "plan_outputs", "run_batch"]
