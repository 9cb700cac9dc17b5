"""DCGM: its host engine is asked, never embedded; every call to it may block, and none blocks the agent."""
