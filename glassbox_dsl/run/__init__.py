"""The stage that computes: the only one that imports torch and transformers."""

import os

# Read by transformers and huggingface_hub when they are imported: no network and no downloaded kernels
# unless the user asks for downloads.
if os.environ.get("GBX_DOWNLOAD", "") in ("", "0"):
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("USE_HUB_KERNELS", "NO")
