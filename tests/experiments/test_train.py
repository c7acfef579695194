"""Ray Train around the loop: two workers are one, whatever they share; workers go where there is a GPU for each."""

import csv
import os

import pytest
from project import finished_stage, make_project

from experiments.cluster import Machines
from experiments.placement import ResourceSection, place

pytestmark = pytest.mark.timeout(600)


def curve(root):
    with open(root / "results" / "tiny" / "history.csv") as file:
        return [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file)]


def trained(root, workers, strategy="ddp"):
    """The loss curve of a training of 60 steps in batches of 13, which two workers cannot share evenly."""
    make_project(root, pretrain={"batch_size": 13, "checkpoint_every": 10})
    params = root / "params.yaml"
    text = params.read_text().replace("workers: 1", f"workers: {workers}\n  strategy: {strategy}")
    params.write_text(text)
    finished_stage(root, "pretrain")
    return curve(root)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("alone") / "p", 1)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_workers_give_the_loss_curve_of_one(tmp_path, alone, strategy):
    two = trained(tmp_path / "p", 2, strategy)
    assert [step for step, _ in two] == [step for step, _ in alone] == [10, 20, 30, 40, 50, 60]
    assert [loss for _, loss in two] == pytest.approx([loss for _, loss in alone], rel=1e-3)


def test_workers_of_a_cluster_get_a_gpu_each(tmp_path):
    """Two emulated nodes of two logical GPUs: placement is real, the cards are not, so nothing is computed on them."""
    import ray
    from ray.cluster_utils import Cluster
    from ray.train import RunConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    from experiments.cluster import machines
    from experiments.train import scaling, torch_config

    def where(config):  # inside, so that it travels by value: workers know nothing of the tests
        context = ray.get_runtime_context()
        ids = ray.get_gpu_ids()
        rank, size = ray.train.get_context().get_world_rank(), ray.train.get_context().get_world_size()
        with open(os.path.join(config["folder"], f"{rank}.txt"), "w") as file:
            file.write(f"{size} {context.get_node_id()} {','.join(map(str, ids))}")

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 0, "include_dashboard": False})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=4, num_gpus=2)
        os.environ["RAY_ADDRESS"] = cluster.address
        there = machines()
        assert (there.cpus, there.gpus, there.address) == (10, 4, cluster.address)
        found = place(ResourceSection(), there, 128)
        assert (found.workers, found.gpu, torch_config(found).backend) == (4, True, "nccl")
        ray.init(log_to_driver=False, logging_level="ERROR")
        TorchTrainer(
            where,
            train_loop_config={"folder": str(tmp_path)},
            scaling_config=scaling(found),
            torch_config=TorchConfig(backend="gloo"),  # nccl needs real cards
            run_config=RunConfig(name="where", storage_path=str(tmp_path / "ray")),
        ).fit()
        notes = [(tmp_path / f"{rank}.txt").read_text().split() for rank in range(4)]
        assert {size for size, _, _ in notes} == {"4"}
        assert len({(node, gpu) for _, node, gpu in notes}) == 4, "each worker has a GPU of its own"
        assert len({node for _, node, _ in notes}) == 2
    finally:
        del os.environ["RAY_ADDRESS"]
        ray.shutdown()
        cluster.shutdown()


def test_a_machine_without_gpus_is_asked_for_none():
    from experiments.train import scaling, torch_config

    found = place(ResourceSection(), Machines(2, 0, ""), 128)
    asked = scaling(found)
    assert (asked.use_gpu, asked.num_workers, asked.resources_per_worker) == (False, 1, {"CPU": 2})
    assert torch_config(found).backend == "gloo"
