"""The main job on data made on the spot: hidden point charges found from energies and forces."""
