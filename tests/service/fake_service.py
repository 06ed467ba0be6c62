"""What `bentoml serve` is given in tests: the service itself, over the fake model."""

from service.service import GreentextService
from tests.service.fake_model import install

install()

__all__ = ["GreentextService"]
