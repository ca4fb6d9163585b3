"""What follows from an energy or a charge function, whatever model gives it."""
