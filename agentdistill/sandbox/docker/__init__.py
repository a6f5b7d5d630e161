"""Sandboxes in containers of a Docker engine: any image, here or on another machine, with any runtime it has."""

from agentdistill.sandbox.docker.backend import DockerBackend

__all__ = ["DockerBackend"]
