"""What a plugin implements: space, transition, process, backbone, oracle, objective, task, executor."""

from braid_core.interfaces.backbone import Backbone, Tunable
from braid_core.interfaces.condition import Condition, ConditionSpec
from braid_core.interfaces.executor import Executor
from braid_core.interfaces.log import Log, Silent
from braid_core.interfaces.objective import Objective, Problem, Sampler, Trajectory
from braid_core.interfaces.oracle import LabelledDesigns, Oracle, Posterior
from braid_core.interfaces.process import Potential, Predict, Process
from braid_core.interfaces.space import Images, Space, Tokens, Vectors
from braid_core.interfaces.state import State, Stateful
from braid_core.interfaces.streams import Streams
from braid_core.interfaces.task import Doubt, Task
from braid_core.interfaces.transition import CategoricalTransition, GaussianTransition, Transition

__all__ = [
    "Backbone",
    "CategoricalTransition",
    "Condition",
    "ConditionSpec",
    "Doubt",
    "Executor",
    "GaussianTransition",
    "Images",
    "LabelledDesigns",
    "Log",
    "Objective",
    "Oracle",
    "Posterior",
    "Potential",
    "Predict",
    "Problem",
    "Process",
    "Sampler",
    "Silent",
    "Space",
    "State",
    "Stateful",
    "Streams",
    "Task",
    "Tokens",
    "Trajectory",
    "Transition",
    "Tunable",
    "Vectors",
]
