"""Where a training runs: as asked, no more than there is, and said at once."""

import pytest

from experiments.cluster import Machines, Node
from experiments.placement import ResourceError, ResourceSection, place, read_resources
from experiments.recipe import RecipeError

LAPTOP = Machines(2, 0, "")
SERVER = Machines(32, 4, "ray://head")
TWINS = Machines(16, 0, "ray://head", (Node(8, 0), Node(8, 0)))
HEADED = Machines(24, 4, "ray://head", (Node(16, 0), Node(8, 4)))
POOR = Machines(10, 4, "ray://head", (Node(8, 0), Node(2, 4)))


def asked(**changes):
    return ResourceSection.model_validate(changes)


def test_a_laptop_gets_one_worker_with_every_core():
    found = place(asked(), LAPTOP, 128)
    assert (found.workers, found.gpu, found.cpus, found.backend, found.device) == (1, False, 2, "gloo", "cpu")


def test_a_server_gets_one_worker_a_gpu():
    found = place(asked(), SERVER, 128)
    assert (found.workers, found.gpu, found.cpus, found.backend, found.device) == (4, True, 8, "nccl", "cuda")


def test_gpus_can_be_left_alone():
    found = place(asked(gpu=False, workers=8), SERVER, 128)
    assert (found.workers, found.gpu, found.cpus, found.backend) == (8, False, 4, "gloo")


@pytest.mark.parametrize(
    ("resources", "there", "workers", "cpus"),
    [
        (asked(), TWINS, 1, 8),
        (asked(workers=2), TWINS, 2, 8),
        (asked(workers=3), TWINS, 3, 4),
        (asked(workers=16), TWINS, 16, 1),
        (asked(), HEADED, 4, 2),
        (asked(gpu=False), HEADED, 1, 16),
        (asked(), POOR, 2, 1),
    ],
)
def test_a_worker_fits_on_one_machine_of_a_cluster(resources, there, workers, cpus):
    """Ray would wait for ever for one that needs the CPUs of two."""
    found = place(resources, there, 128)
    assert (found.workers, found.cpus) == (workers, cpus)
    slots = [min(node.cpus // cpus, node.gpus) if found.gpu else node.cpus // cpus for node in there.each]
    assert sum(slots) >= workers


def test_small_batches_take_fewer_gpus():
    assert place(asked(), SERVER, 2).workers == 2


@pytest.mark.parametrize(
    ("resources", "there", "batch", "words"),
    [
        (asked(workers=64), LAPTOP, 128, r"64 workers need 64 CPUs, but this machine has 2 CPUs and 0 GPUs"),
        (asked(workers=5), SERVER, 128, r"5 workers need 5 GPUs, but the cluster at ray://head has 32 CPUs and 4 GPUs"),
        (asked(workers=4), POOR, 128, r"4 workers need 4 GPUs, each beside a CPU of its own machine, but the cluster"),
        (asked(gpu=True), LAPTOP, 128, r"resources.gpu is true, but this machine has 2 CPUs and 0 GPUs"),
        (asked(workers=2), LAPTOP, 1, r"a batch of 1 cannot be shared by 2 workers"),
    ],
)
def test_more_than_there_is_is_refused_at_once(resources, there, batch, words):
    with pytest.raises(ResourceError, match=words):
        place(resources, there, batch)


def test_resources_are_read_from_params(tmp_path):
    assert read_resources(tmp_path) == ResourceSection()
    (tmp_path / "params.yaml").write_text("resources: {workers: 2, strategy: fsdp2}\n")
    assert read_resources(tmp_path) == asked(workers=2, strategy="fsdp2")


def test_a_wrong_key_is_named_with_the_nearest_right_one(tmp_path):
    (tmp_path / "params.yaml").write_text("resources: {worker: 2}\n")
    with pytest.raises(RecipeError, match=r"unknown key 'worker' \(did you mean 'workers'\?\)"):
        read_resources(tmp_path)
