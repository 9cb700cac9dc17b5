"""A mocker of Dynamo that publishes the UUIDs of its GPUs in its model card. Runs on Dynamo's own Python."""

import json
import os

import dynamo.mocker.main as mocker

made = mocker.build_runtime_config


def with_gpus(args):
    block_size, config = made(args)
    config.set_engine_specific("gpu_uuids", json.dumps(os.environ["GPU_UUIDS"].split(",")))
    return block_size, config


mocker.build_runtime_config = with_gpus
mocker.main()
