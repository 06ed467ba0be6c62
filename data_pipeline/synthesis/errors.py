"""What synthesis raises where it cannot go on. Whatever was paid for is kept; the same command goes on from there.

StageError
└── SynthesisError
    ├── AnswersError        the folder of answers is in use, or damaged
    ├── BudgetSpentError    one more request could pass the budget
    ├── ServerRefusesError  the server will not answer such requests: key, model, quota, a parameter
    ├── UnansweredError     some requests failed as often as they may, or a batch ended without them
    └── BatchError          a batch was refused as a whole
"""

from data_pipeline.errors import StageError


class SynthesisError(StageError):
    """Synthesis cannot go on."""


class AnswersError(SynthesisError):
    """The folder of answers is in use, or damaged."""


class BudgetSpentError(SynthesisError):
    """One more request could pass the budget."""


class ServerRefusesError(SynthesisError):
    """The server will not answer such requests."""


class UnansweredError(SynthesisError):
    """Some requests failed as often as they may, or a batch ended without them."""


class BatchError(SynthesisError):
    """A batch was refused as a whole."""
