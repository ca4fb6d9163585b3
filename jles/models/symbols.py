"""Chemical symbols in configurations."""

from collections.abc import Iterable

from ase.data import atomic_numbers

from jles.errors import ConfigError

SYMBOLS = frozenset(atomic_numbers) - {"X"}


def check_symbols(key: str, symbols: Iterable[str]) -> None:
    """Refuses what is no chemical symbol, and a symbol given twice.

    Raises:
        ConfigError: names the key.
    """
    seen = set()
    for symbol in symbols:
        if symbol not in SYMBOLS:
            raise ConfigError(f"{key}: '{symbol}' is not a chemical symbol")
        if symbol in seen:
            raise ConfigError(f"{key}: {symbol} given twice")
        seen.add(symbol)
