"""The worker programs, beside their configs."""
