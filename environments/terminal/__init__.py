"""Terminal: coding tasks in Harbor form; a shell, an editor and `submit` in the world that the task describes.

Point it at a folder of task folders: ``Terminal(tasks="my-tasks", sandboxes=backend)``. What it needs of a task's
``task.toml`` it takes from there; `agentdistill.formats.harbor` says what is read.

**Where the work is done.** On the *docker* backend each task has its own world: its ``docker_image`` (which must be on
the engine), or an image built from ``environment/Dockerfile``, named by the content of that folder, so that it is built
once. On *bubblewrap*, and any other backend without images, a task's plain files are laid into the workspace; of a
Dockerfile what `agentdistill.formats.harbor.dockerfile` lists is done in the sandbox. Everything else is refused in one
line, when the task is begun. With ``[metadata.agentdistill] needs_image = false`` any sandbox with bash and python3
will do, also one of the image that the docker backend was given. Without a Dockerfile, the files in ``environment/``
are laid into the working directory.

**How it is judged.** In a fresh sandbox of the same world, on which the files that the agent left are laid (see
`agentdistill.verification.crossing`):

- A task with ``[metadata.agentdistill.verifier]`` is judged by the Python tests in ``tests/`` as hidden tests: the
  table has the fields of `agentdistill.verification.HiddenTests` (but for `files`), above all ``modules``; and
  ``crossing`` with those of `Crossing`. This is the way to judge that resists code that wants to cheat.
- Any other by its own ``tests/test.sh``, laid at ``/tests`` with what lies beside it, run from the working directory as
  ``verifier.user`` with ``verifier.env``. What it leaves in ``/logs/verifier``, ``reward.json`` or else ``reward.txt``,
  is the score; at 1 the task is passed. A reward that is missing, empty or cannot be read is an error of the verifier,
  never a 0; a script whose time runs out has found the work to be worth 0. `agentdistill.verification.scripts` says
  what such a judgement does not resist.
- With a *separate* verifier (``environment_mode = "separate"``, or ``[verifier.environment]``) nothing crosses but
  ``/logs/artifacts`` and the declared artifacts, to the same absolute paths, into a sandbox of the verifier's own
  image: its ``docker_image``, or what ``tests/Dockerfile`` makes of ``tests/``; without both, of the agent's.

A task of several steps goes on at `submit`: the step is judged, and if it reaches ``min_reward`` the next one is set up
and its instruction is the answer. The score is the mean over the steps that were judged, or the last one's
(``multi_step_reward_strategy``); passed is only who came to the end with 1. All of that is state, part of snapshots.

**What is not covered**, and what becomes of it:

- Refused: ``docker-compose.yaml`` and services, GPUs and TPUs, ``mcp_servers``, ``network_mode = "allowlist"``,
  users or networks that change from step to step, ``verifier.collect`` for another service or user, variables of this
  machine in ``environment.env`` (they would be stored with snapshots).
- Networks: without a word of the task there is none, other than in Harbor. ``public`` is refused unless the docker
  backend was made with ``public_network = true``; bubblewrap never gives any. A list of allowed hosts would need a
  filter between the container and the network that commands cannot get past; the engine has none, and to give the whole
  network in its place would be weaker than what the task says. Images are built without network unless
  ``build_network = "default"``; nothing is pulled.
- Root: a docker backend made with ``root = true`` is as Harbor has it: who is named no user is the image's own, root as
  a rule; packages can be installed, and anything in the container can be written to and is part of snapshots, with
  owners. What root may do, and what it may not, is in `agentdistill.sandbox.docker.container.CAPABILITIES`; user
  namespaces are the engine's affair. Without the setting, commands as root are refused, and who is named no user works
  as an ordinary one (1000), also where an image is root's: only the working directory, ``/tmp`` (emptied after each
  command) and, where a separate verifier reads it, ``/logs`` can be written to, and snapshots keep the working
  directory and the shell; what an image has elsewhere is there, read-only. The same holds for bubblewrap.
- An image without WORKDIR is worked in at ``/workspace``, not at ``/``.
- ``/logs`` and ``/tests``, where they are there, are links into a folder ``.harbor`` of the working directory.
- ENTRYPOINT, CMD and services of an image are not started. A healthcheck is tried before the agent begins (and before
  each step that has one), by commands that outlive nothing.
- ``agent.timeout_sec`` bounds every single command, as does the backend's own limit, and not their sum: what time is
  left could not be restored exactly. `step_limit` bounds an episode. ``build_timeout_sec`` bounds the silence of a
  build. ``cpus`` beyond what the machine has are not promised; memory holds the files of a sandbox, too.
- ``skills_dir`` is not shown to the agent. Artifacts are carried to a separate verifier, not kept; a `destination` has
  no meaning. Artifacts outside the working directory and ``/logs`` are not carried, also where an agent that is root
  can write them.
- To a shared verifier, files that change how Python, pytest or a shell starts do not cross (`crossing.PROTECTED`), of
  ``.git`` neither configuration nor hooks, of ``/logs`` nothing. From elsewhere, where the agent can write there, to
  hidden tests nothing crosses that ``crossing.system`` does not name; to a script everything but what
  `agentdistill.verification.system` lists, above all changes to programs and libraries that the image has.
- So honest work of root scores 0 before a shared script where the script needs one of these of the agent's:
  ``pip install --user`` and what else is in ``~/.local`` and ``~/.config``; that a Python package is known as installed
  (``*.dist-info``: entry points, `pip show`); an upgrade of programs, libraries or modules of the image; shells,
  ``uv``, ``pytest`` and its plug-ins, where the image has none; settings of apt and other package managers, what these
  have fetched, and package scripts of dpkg; ``/etc/profile.d``, ``~/.bashrc`` and the like; ``ld.so.conf`` and its
  cache; a ``pyproject.toml``, ``setup.cfg`` or ``tox.ini`` of the image outside the working directory; a service that
  runs. The task's author lets it through with ``crossing.allow``, which takes absolute paths, but for what runs. What
  ``make install``, ``npm install -g`` and ``apt-get install`` of packages that are new add below ``/usr`` crosses, as
  does what is changed in ``/etc`` besides.
"""

from .environment import ENVIRONMENT, Terminal
from .judging import Judge, Judged
from .place import Place

__all__ = ["ENVIRONMENT", "Judge", "Judged", "Place", "Terminal"]
