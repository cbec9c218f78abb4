"""What every test shares: few threads, no network, no colours."""

import os

# Set before torch or transformers is imported anywhere; subprocesses inherit them.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["NO_COLOR"] = "1"
os.environ.pop("GBX_TRACEBACK", None)
