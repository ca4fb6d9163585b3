"""Observables as derivatives of energy and charge functions of any model."""
