"""A model as the force field of LAMMPS, on any number of MPI ranks."""
