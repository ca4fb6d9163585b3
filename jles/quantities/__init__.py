"""The quantities of a structure: what each one is, who has it and how it is computed."""
