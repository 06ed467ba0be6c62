"""Load tests: who asks (users), when (plans), and what it costs. Locust runs in processes of its own (generator)."""
