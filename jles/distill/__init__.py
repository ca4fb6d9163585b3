"""Teacher to student: a latent-charge model learns from frames that a calculator labels."""
