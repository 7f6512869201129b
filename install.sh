#!/usr/bin/env bash
#
# Sets up ttc in .venv beside this file: compiles llama.cpp for this very processor, runs a real
# decode in a child process, fetches a model, and says what to type next. Safe to run again.
#
# It must run under macOS's bash 3.2: no associative arrays, no ${x,,}, no mapfile, no arrays
# that may be empty under `set -u`.

set -euo pipefail

readonly PROGRAM="./install.sh"
unset CDPATH # with it, cd may lead elsewhere, and prints where
ROOT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
VENV="$ROOT/.venv"
STAMP="$VENV/.ttc-install"
readonly ROOT VENV STAMP

# Where /proc and /dev are looked up; the tests put a made-up machine here.
SYSTEM="${TTC_INSTALL_SYSTEM:-}"

readonly CHECK_MODEL="smollm2-135m"
readonly TEST_MODEL="qwen2.5-coder-0.5b"
readonly ZIG="0.17"
# Exit status of the self-test that means "this build is bad", as opposed to "this model is".
readonly BAD_BUILD=70
# Exit status of build_wheel where what building takes cannot be had, for any profile.
readonly UNFETCHED=75
readonly NEEDED_MB=3000
readonly UNTESTED="not tested: no model here yet"

ACCELERATOR="auto"
COMPILER="auto"
PYTHON_WANTED=""
MODEL=""
MODELS=1
DEV=0
PREBUILT=0
REBUILD=0
DRY_RUN=0
JOBS=""
WATCHER=""

usage() {
  cat <<EOF
Usage: $PROGRAM [options]

Sets up ttc in .venv: compiles llama.cpp for this machine, tests it, fetches a model.
Running it again takes seconds. No root and no compiler needed.

  --accelerator NAME   cpu, cuda, metal, vulkan, rocm, sycl or auto (default)
  --compiler NAME      clang, zig, gcc, or the path of a C compiler (default: the best found)
  --prebuilt           use upstream's generic binary instead of compiling
  --rebuild            forget what was built or found to crash, and build again
  --jobs N             compile N files at once
  --model NAME         fetch this model instead of the default one
  --no-models          fetch no model (then nothing can be tested)
  --python PATH        the Python (3.11 or newer) to use
  --dev                add the tools for development and tests
  --dry-run            print the plan and do nothing
  --help               this text

CMAKE_ARGS, CFLAGS and CXXFLAGS are honoured. TTC_HOME moves models and caches.
EOF
}

say() { printf '%s\n' "$*"; }
step() { printf '==> %s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }

# fail MESSAGE [NEXT COMMAND]
fail() {
  printf 'error: %s\n' "$1" >&2
  if [ $# -gt 1 ]; then printf '  try: %s\n' "$2" >&2; fi
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

wrong_usage() {
  printf 'error: %s\n\n' "$1" >&2
  usage >&2
  exit 2
}

parse_options() {
  while [ $# -gt 0 ]; do
    case "$1" in
      --accelerator | --compiler | --jobs | --model | --python)
        if [ $# -lt 2 ]; then wrong_usage "$1 needs a value"; fi
        case "$1" in
          --accelerator) ACCELERATOR="$2" ;;
          --compiler) COMPILER="$2" ;;
          --jobs) JOBS="$2" ;;
          --model) MODEL="$2" ;;
          --python) PYTHON_WANTED="$2" ;;
        esac
        shift
        ;;
      --*=*)
        local flag="${1%%=*}" value="${1#*=}"
        shift
        set -- "$flag" "$value" "$@"
        continue
        ;;
      --dev) DEV=1 ;;
      --prebuilt) PREBUILT=1 ;;
      --rebuild) REBUILD=1 ;;
      --no-models) MODELS=0 ;;
      --dry-run) DRY_RUN=1 ;;
      -h | --help)
        usage
        exit 0
        ;;
      *) wrong_usage "unknown option: $1" ;;
    esac
    shift
  done
  case "$ACCELERATOR" in
    auto | cpu | cuda | metal | vulkan | rocm | sycl) ;;
    *) wrong_usage "unknown accelerator: $ACCELERATOR" ;;
  esac
  case "$JOBS" in
    *[!0-9]* | 0) wrong_usage "--jobs wants a whole number, not $JOBS" ;;
  esac
}

# --- what this machine is -------------------------------------------------------------------

detect_machine() {
  OS="$(uname -s)"
  ARCH="$(uname -m)"
  case "$OS" in
    Linux | Darwin) ;;
    *) fail "ttc runs on Linux and macOS; on Windows use WSL." "wsl --install" ;;
  esac
  if [ "$OS" = Darwin ]; then
    FEATURES="$(sysctl -n machdep.cpu.brand_string 2>/dev/null || true)"
    CORES="$(sysctl -n hw.ncpu 2>/dev/null || echo 2)"
    MEMORY_MB=$(($(sysctl -n hw.memsize 2>/dev/null || echo 4294967296) / 1048576))
    return
  fi
  # Only what changes the machine code: a new kernel that reports more flags must not rebuild.
  FEATURES="$(sed -n -e '/^flags[[:space:]]*:/{p;q;}' -e '/^Features[[:space:]]*:/{p;q;}' \
    "$SYSTEM/proc/cpuinfo" 2>/dev/null | tr ' ' '\n' \
    | grep -E '^(sse4_2|avx|avx2|avx_vnni|fma|f16c|bmi2|avx512(f|bw|vl|dq|cd|vbmi|_vnni|_bf16|_fp16)|amx_(tile|int8|bf16)|asimd|asimddp|asimdhp|i8mm|bf16|sve|sve2|sme)$' \
    | LC_ALL=C sort -u | tr '\n' ' ' || true)"
  FEATURES="${FEATURES% }"
  if [ "$ARCH" != x86_64 ]; then
    # -mcpu=native there depends on the core's model too.
    FEATURES="$FEATURES $(sed -n -e 's/^CPU part[[:space:]]*: //p' "$SYSTEM/proc/cpuinfo" \
      2>/dev/null | LC_ALL=C sort -u | tr '\n' ' ' || true)"
  fi
  CORES="$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)"
  MEMORY_MB=$(($(sed -n 's/^MemTotal:[^0-9]*\([0-9]*\).*/\1/p' "$SYSTEM/proc/meminfo" \
    2>/dev/null || true) / 1024))
  if [ "$MEMORY_MB" = 0 ]; then MEMORY_MB=4096; fi
}

has_feature() {
  case " $FEATURES " in *" $1 "*) return 0 ;; *) return 1 ;; esac
}

# A compiler job of llama.cpp's takes up to some 1.5 GB.
choose_jobs() {
  if [ -n "$JOBS" ]; then return; fi
  JOBS=$((MEMORY_MB / 1500))
  if [ "$JOBS" -gt "$CORES" ]; then JOBS="$CORES"; fi
  if [ "$JOBS" -lt 1 ]; then JOBS=1; fi
}

# nvcc on the PATH is no sign of a GPU: containers and build machines carry it too.
has_nvidia_gpu() {
  if have nvidia-smi; then
    case "$(nvidia-smi -L 2>/dev/null || true)" in "GPU "*) return 0 ;; esac
  fi
  [ -e "$SYSTEM/dev/nvidia0" ]
}

choose_accelerator() {
  local wanted="$ACCELERATOR"
  if [ "$wanted" = auto ]; then
    ACCELERATOR=cpu
    if [ "$OS" = Darwin ] && [ "$ARCH" = arm64 ]; then
      ACCELERATOR=metal
    elif has_nvidia_gpu; then
      ACCELERATOR=cuda
    fi
  fi
  case "$ACCELERATOR" in
    metal)
      if [ "$OS" != Darwin ]; then fail "Metal exists on macOS only." "$PROGRAM --accelerator cpu"; fi
      ;;
    cuda)
      if ! have nvcc && [ "$PREBUILT" = 0 ]; then
        say "A CUDA GPU but no nvcc: taking upstream's prebuilt CUDA library, if it can be had."
        PREBUILT=1
      fi
      ;;
    vulkan)
      if ! have glslc && [ "$PREBUILT" = 0 ]; then
        fail "Vulkan needs the shader compiler glslc and the Vulkan headers." \
          "$(install_hint "glslc libvulkan-dev" "glslc vulkan-loader-devel" "shaderc vulkan-headers")"
      fi
      ;;
    rocm)
      if ! have hipcc && [ "$PREBUILT" = 0 ]; then
        fail "ROCm needs hipcc, which comes with the ROCm development packages." \
          "$(install_hint hipcc rocm-hip-devel hip)"
      fi
      ;;
    sycl)
      if ! have icpx; then
        fail "SYCL needs Intel's oneAPI compilers icx and icpx on the PATH." \
          "source /opt/intel/oneapi/setvars.sh && $PROGRAM --accelerator sycl"
      fi
      ;;
  esac
  # What the user asked for by name is not silently replaced.
  FALL_BACK_TO_CPU=0
  if [ "$wanted" = auto ] && [ "$ACCELERATOR" = cuda ]; then FALL_BACK_TO_CPU=1; fi
}

# install_hint APT DNF OTHER: the package manager's own command.
install_hint() {
  local sudo=""
  if [ "$(id -u)" != 0 ]; then sudo="sudo "; fi
  if have apt-get; then
    say "${sudo}apt-get install -y $1"
  elif have dnf; then
    say "${sudo}dnf install -y $2"
  elif have zypper; then
    say "${sudo}zypper install -y $3"
  elif have pacman; then
    say "${sudo}pacman -S --needed $3"
  elif have apk; then
    say "${sudo}apk add $3"
  elif have brew; then
    say "brew install $3"
  else
    say "install $3 with this system's package manager"
  fi
}

# --- Python ---------------------------------------------------------------------------------

python_is_new_enough() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
  local name found without_venv=""
  for name in ${PYTHON_WANTED:+"$PYTHON_WANTED"} python3 python3.13 python3.12 python3.11 python3.14; do
    if [ -n "$PYTHON_WANTED" ] && [ "$name" != "$PYTHON_WANTED" ]; then break; fi
    found="$(command -v "$name" 2>/dev/null || true)"
    if [ -z "$found" ] || ! python_is_new_enough "$found"; then continue; fi
    # Debian ships Python without venv and ensurepip.
    if "$found" -c 'import venv, ensurepip' >/dev/null 2>&1; then
      PYTHON="$found"
      return
    fi
    without_venv="${without_venv:-$found}"
  done
  if [ -n "$without_venv" ]; then
    local version
    version="$("$without_venv" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
    fail "$without_venv (Python $version) has no venv module." \
      "$(install_hint "python$version-venv" python3 python3) && $PROGRAM"
  fi
  if [ -n "$PYTHON_WANTED" ]; then
    fail "$PYTHON_WANTED is not a Python 3.11 or newer." "$PROGRAM --python /path/to/python3.12"
  fi
  fail "No Python 3.11 or newer found." \
    "$(install_hint "$(apt_python)" python3.12 python3) && $PROGRAM"
}

# Ubuntu 22.04's python3 is 3.10, but it also has python3.11.
apt_python() {
  case "$(apt-cache policy python3 2>/dev/null | sed -n 's/^ *Candidate: //p')" in
    3.[0-9].* | 3.10.* | '') say "python3.11 python3.11-venv" ;;
    *) say "python3 python3-venv" ;;
  esac
}

# --- compilers ------------------------------------------------------------------------------

# Whether this C++ compiler makes programs at all: headers and linker are often missing.
compiles() {
  local probe status=0
  probe="$(mktemp -d)"
  printf '#include <vector>\nint main() { return (int)std::vector<int>().size(); }\n' \
    >"$probe/probe.cpp"
  "$1" "$probe/probe.cpp" -o "$probe/probe" >/dev/null 2>&1 || status=1
  rm -rf "$probe"
  return $status
}

# The C++ compiler that belongs to a C compiler: clang-19 → clang++-19, gcc-13 → g++-13.
cxx_of() {
  local folder name
  folder="$(dirname "$1")"
  name="$(basename "$1")"
  case "$name" in
    clang*) say "$folder/clang++${name#clang}" ;;
    *gcc*) say "$folder/${name%%gcc*}g++${name#*gcc}" ;;
    icx) say "$folder/icpx" ;;
    *cc) say "$folder/${name%cc}c++" ;;
    *) say "$1++" ;;
  esac
}

# Prints "clang 19", "gcc 12" or nothing.
compiler_version() {
  local text
  text="$("$1" --version 2>/dev/null || true)"
  case "$text" in
    *"clang version "*)
      text="${text#*clang version }"
      say "clang ${text%%.*}"
      ;;
    *"Free Software Foundation"*) say "gcc $("$1" -dumpversion | sed 's/\..*//')" ;;
  esac
}

# newest NAME LOWEST HIGHEST: the newest usable compiler called NAME or NAME-<version>.
newest() {
  local family="$1" best="" best_version=0 name found version major
  local candidates="$family" number="$3"
  while [ "$number" -ge "$2" ]; do
    candidates="$candidates $family-$number"
    number=$((number - 1))
  done
  for name in $candidates; do
    found="$(command -v "$name" 2>/dev/null || true)"
    if [ -z "$found" ]; then continue; fi
    version="$(compiler_version "$found")"
    major="${version#* }"
    case "$version" in "$family "[0-9]*) ;; *) continue ;; esac
    if [ "$major" -gt "$best_version" ] && compiles "$(cxx_of "$found")"; then
      best="$found"
      best_version="$major"
    fi
  done
  if [ -n "$best" ]; then say "$best"; fi
}

# Fills PROFILES, one "ACCELERATOR INSTRUCTIONS COMPILER" a line, best first. COMPILER is a path,
# "zig" or "prebuilt"; INSTRUCTIONS is "native", a level that is switched on by name, or the
# folder of the prebuilt library.
plan_profiles() {
  PROFILES=""
  if [ "$PREBUILT" = 1 ]; then
    add_profile "$(prebuilt_folder)" prebuilt
    # Without nvcc there is nothing to compile for this GPU.
    if [ "$ACCELERATOR" != cpu ] && [ "$FALL_BACK_TO_CPU" = 0 ]; then return; fi
  else
    add_compiled_profiles
    if [ "$ACCELERATOR" = cpu ] || [ "$FALL_BACK_TO_CPU" = 0 ]; then return; fi
  fi
  local chosen="$ACCELERATOR"
  ACCELERATOR=cpu
  add_compiled_profiles
  ACCELERATOR="$chosen"
}

# measured FOLDER: "TOKENS MODEL" of a wheel that is kept there, at 16 candidates; nothing where it
# was not measured, or only beside other programs.
measured() {
  if [ ! -f "$1/key.txt" ]; then return; fi
  sed -n 's/^\(.*\): [0-9]* tokens\/s alone, \([0-9][0-9]*\) at [0-9]* candidates, reads [0-9]*\/s ([0-9]* threads)$/\2 \1/p' \
    "$1/speed.txt" 2>/dev/null | head -n 1 || true
}

# The order above is what was measured elsewhere. Where profiles were measured here, with one model
# and accelerator, these change places among themselves, the fastest first. Leaves the order from
# elsewhere in PLANNED.
prefer_measured() {
  local profile found reference="" ranked="" number=0 changed="" places order
  PLANNED="$PROFILES"
  if [ "$REBUILD" = 1 ]; then return; fi
  while IFS= read -r profile; do
    number=$((number + 1))
    if [ -z "$profile" ]; then continue; fi
    read_profile "$profile"
    found="$(measured "$WHEELS/$KEY")"
    if [ -z "$found" ]; then continue; fi
    reference="${reference:-$accelerator ${found#* }}"
    if [ "$reference" = "$accelerator ${found#* }" ]; then
      ranked="$ranked${found%% *} $number $profile"$'\n'
    fi
  done <<EOF
$PROFILES
EOF
  places=" $(printf '%s' "$ranked" | cut -d ' ' -f 2 | tr '\n' ' ')"
  order="$(printf '%s' "$ranked" | LC_ALL=C sort -k 1,1rn -k 2,2n | cut -d ' ' -f 3-)"
  number=0
  while IFS= read -r profile; do
    number=$((number + 1))
    if [ -z "$profile" ]; then continue; fi
    case "$places" in
      *" $number "*)
        profile="${order%%$'\n'*}"
        order="${order#*$'\n'}"
        ;;
    esac
    changed="$changed$profile"$'\n'
  done <<EOF
$PROFILES
EOF
  PROFILES="$changed"
}

# name_faster LABEL: what would be faster than the build LABEL, a |, and the command; or nothing.
# Measured on an AMX machine at 16 candidates: gcc 12 84 tokens/s, clang 19 101, zig 103.
name_faster() {
  local number package=""
  case "$1" in
    gcc\ *) ;;
    "upstream's prebuilt library (cpu)")
      say "a library compiled for this processor|$PROGRAM --rebuild"
      return
      ;;
    *) return ;;
  esac
  case "$1" in *", cuda" | *", vulkan" | *", rocm" | *", sycl") return ;; esac
  if [ "$OS" != Linux ]; then return; fi
  if [ "$COMPILER" != auto ]; then
    # What was asked for by name; without that, the best that is here or on the index is taken.
    say "a build with clang 17 or newer, or zig (about 1.2 times as fast where measured)|$PROGRAM"
    return
  fi
  if have apt-get; then
    for number in 22 21 20 19 18 17; do
      case "$(apt-cache policy "clang-$number" 2>/dev/null | sed -n 's/^ *Candidate: //p')" in
        '' | "(none)") ;;
        *)
          package="clang-$number"
          break
          ;;
      esac
    done
    if [ -z "$package" ]; then return; fi
  fi
  say "a build with clang 17 or newer (about 1.2 times as fast where measured)|$(install_hint "$package" clang clang) && $PROGRAM"
}

add_profile() { PROFILES="$PROFILES$ACCELERATOR $1 $2"$'\n'; }

add_compiled_profiles() {
  local compilers compiler level
  compilers="$(choose_compilers)"
  while IFS= read -r compiler; do
    if [ -n "$compiler" ]; then add_profile native "$compiler"; fi
  done <<EOF
$compilers
EOF
  # A native build that crashes (a hypervisor that announces what it does not allow, a compiler's
  # fault) is followed by ever fewer instructions; which of them is safe only a decode can tell.
  if [ "$OS" = Darwin ] || [ "$ACCELERATOR" != cpu ]; then return; fi
  for level in $(named_levels); do
    while IFS= read -r compiler; do
      if [ -n "$compiler" ]; then add_profile "$level" "$compiler"; fi
    done <<EOF
$compilers
EOF
  done
}

# Prints the compilers to try for $ACCELERATOR, best first.
choose_compilers() {
  local clang="" gcc="" found package
  case "$COMPILER" in
    auto) ;;
    zig)
      say zig
      return
      ;;
    clang | gcc)
      found="$(newest "$COMPILER" 9 30)"
      if [ -z "$found" ]; then
        package="$COMPILER"
        if [ "$COMPILER" = gcc ]; then package="g++"; fi
        fail "No working $COMPILER found (a C++ compiler with its headers)." \
          "$(install_hint "$package" "${package/g++/gcc-c++}" "$COMPILER")"
      fi
      say "$found"
      return
      ;;
    *)
      found="$(command -v "$COMPILER" || true)"
      if [ -z "$found" ] || ! compiles "$(cxx_of "$found")"; then
        fail "$COMPILER does not compile C++ here." "$PROGRAM --compiler zig"
      fi
      say "$found"
      return
      ;;
  esac
  if [ "$OS" = Darwin ]; then
    if xcode-select -p >/dev/null 2>&1; then
      command -v clang || true
    elif [ "$PREBUILT" = 0 ]; then
      fail "The system's compiler is not installed." "xcode-select --install && $PROGRAM"
    fi
    return
  fi
  if [ "$ACCELERATOR" = sycl ]; then
    command -v icx
    return
  fi
  clang="$(newest clang 17 30)"
  if [ -n "$clang" ]; then
    case "$(compiler_version "$clang")" in
      "clang "[0-9] | "clang 1"[0-6]) clang="" ;;
    esac
  fi
  gcc="$(newest gcc 11 20)"
  if [ "$ACCELERATOR" = cuda ]; then
    # nvcc trusts gcc most, and cannot drive zig.
    say "$gcc"
    say "$clang"
  else
    say "${clang:-zig}"
    say "$gcc"
  fi
}

named_levels() {
  if [ "$ARCH" != x86_64 ]; then
    if has_feature asimddp; then say dotprod; fi
    say baseline
    return
  fi
  if has_feature avx512f; then say avx512; fi
  if has_feature avx2; then say avx2; fi
  say baseline
}

instruction_flags() {
  local flags="-DGGML_NATIVE=OFF" name
  case "$1" in
    native)
      say "-DGGML_NATIVE=ON"
      return
      ;;
    dotprod)
      say "$flags -DGGML_CPU_ARM_ARCH=armv8.2-a+dotprod"
      return
      ;;
    baseline)
      if [ "$ARCH" != x86_64 ]; then
        say "$flags -DGGML_CPU_ARM_ARCH=armv8-a"
        return
      fi
      for name in AVX AVX2 BMI2 FMA F16C; do flags="$flags -DGGML_$name=OFF"; done
      ;;
    avx2 | avx512)
      for name in AVX AVX2 BMI2 FMA F16C; do flags="$flags -DGGML_$name=ON"; done
      ;;
  esac
  if [ "$1" = avx512 ]; then
    flags="$flags -DGGML_AVX512=ON"
    if has_feature avx512vbmi; then flags="$flags -DGGML_AVX512_VBMI=ON"; fi
    if has_feature avx512_vnni; then flags="$flags -DGGML_AVX512_VNNI=ON"; fi
    if has_feature avx512_bf16; then flags="$flags -DGGML_AVX512_BF16=ON"; fi
  fi
  say "$flags"
}

accelerator_flags() {
  case "$1" in
    cuda) say "-DGGML_CUDA=on" ;;
    metal) say "-DGGML_METAL=on -DCMAKE_OSX_ARCHITECTURES=$ARCH" ;;
    vulkan) say "-DGGML_VULKAN=on" ;;
    rocm) say "-DGGML_HIP=on" ;;
    sycl) say "-DGGML_SYCL=on" ;;
  esac
}

# The folder of upstream's index that fits: for CUDA, the newest the driver can run.
prebuilt_folder() {
  local driver version
  case "$ACCELERATOR" in
    cuda)
      driver="$(nvidia-smi 2>/dev/null | sed -n 's/.*CUDA Version: *\([0-9]*\)\.\([0-9]\).*/\1\2/p')" || true
      for version in 132 131 130 129 128 126 125 124 123 122 121; do
        if [ "$version" -le "${driver:-124}" ]; then
          say "cu$version"
          return
        fi
      done
      say cu118
      ;;
    rocm) say rocm72 ;;
    *) say "$ACCELERATOR" ;;
  esac
}

# read_profile "ACCELERATOR INSTRUCTIONS COMPILER": sets these three (lower case), and CC, CXX,
# FLAGS, LABEL, KEY and KEY_TEXT.
read_profile() {
  local version cured=""
  accelerator="${1%% *}"
  compiler="${1#* }"
  instructions="${compiler%% *}"
  compiler="${compiler#* }"
  CC="$compiler"
  CXX=""
  case "$compiler" in
    prebuilt)
      FLAGS=""
      LABEL="upstream's prebuilt library ($instructions)"
      version=prebuilt
      ;;
    zig)
      FLAGS="-DGGML_OPENMP=OFF"
      version="zig $ZIG"
      ;;
    *)
      CXX="$(cxx_of "$compiler")"
      FLAGS=""
      version="$(compiler_version "$compiler")"
      version="${version:-$(basename "$compiler")}"
      case "$version" in
        "gcc "[0-9] | "gcc 1"[0-2]) if has_feature amx_tile; then cured=", AMX cure"; fi ;;
      esac
      ;;
  esac
  if [ "$compiler" != prebuilt ]; then
    FLAGS="$FLAGS $(instruction_flags "$instructions")"
    if [ "$accelerator" != cpu ]; then FLAGS="$FLAGS $(accelerator_flags "$accelerator")"; fi
    FLAGS="${FLAGS# } -DLLAVA_BUILD=OFF"
    LABEL="$version, $instructions instructions"
    if [ "$instructions" = native ]; then LABEL="$LABEL$cured"; fi
    if [ "$accelerator" != cpu ]; then LABEL="$LABEL, $accelerator"; fi
  fi
  KEY_TEXT="llama-cpp-python $LLAMA | $OS $ARCH | $version | $instructions | $accelerator | fixes 3 | $FLAGS | ${CMAKE_ARGS:-} | ${CFLAGS:-} | ${CXXFLAGS:-} | $FEATURES"
  KEY="$LLAMA-$(printf '%s-%s-%s' "$accelerator" "$version" "$instructions" | tr ' /' '__')-$(printf '%s' "$KEY_TEXT" | cksum | cut -d ' ' -f 1)"
}

# --- building -------------------------------------------------------------------------------

# logged WHAT COMMAND…: runs it with its output in the log; false if it failed.
logged() {
  local what="$1"
  shift
  printf '\n### %s: %s\n' "$what" "$*" >>"$LOG"
  "$@" >>"$LOG" 2>&1
}

# On a terminal, shows how far ninja is, until killed.
show_progress() {
  local now
  while sleep 1; do
    now="$(tail -n 40 "$LOG" | sed -n 's/^ *\[\([0-9]*\/[0-9]*\)\].*/\1/p' | tail -n 1)"
    if [ -n "$now" ]; then printf '\r    file %s ' "$now" >&2; fi
  done
}

pip_in() {
  local python="$1/bin/python"
  shift
  "$python" -m pip --no-input "$@"
}

# Build tools live in the cache, not in .venv: a compiler is no part of ttc.
make_tools() {
  local tools="$BUILD/tools"
  if [ ! -x "$tools/bin/python" ] || ! "$tools/bin/python" -c '' 2>/dev/null; then
    rm -rf "$tools"
    logged "build tools" "$PYTHON" -m venv "$tools" || return 1
  fi
  logged "build tools" pip_in "$tools" install "scikit-build-core>=0.9.2" || return 1
  logged "cmake" pip_in "$tools" install "cmake>=3.21" || have cmake || return 1
  logged "ninja" pip_in "$tools" install ninja || have ninja || have make || return 1
}

make_zig() {
  local tools="$BUILD/tools" wrapper
  if ! logged "zig" pip_in "$tools" install "ziglang==$ZIG.*"; then return 1; fi
  CC="$tools/zig-cc"
  CXX="$tools/zig-c++"
  for wrapper in cc c++; do
    # Without a CPU, zig compiles for this one, whatever is switched on by name.
    cat >"$tools/zig-$wrapper" <<EOF
#!/bin/sh
export ZIG_GLOBAL_CACHE_DIR="$BUILD/zig-cache" ZIG_LOCAL_CACHE_DIR="$BUILD/zig-cache"
exec "$tools/bin/python" -m ziglang $wrapper ${1:-} "\$@"
EOF
    chmod +x "$tools/zig-$wrapper"
  done
  compiles "$CXX"
}

fetch_source() {
  local name="llama_cpp_python-$LLAMA"
  SOURCE="$BUILD/$name"
  if [ -f "$SOURCE/pyproject.toml" ]; then return; fi
  logged "source" pip_in "$BUILD/tools" download --no-deps --no-build-isolation \
    --no-binary llama-cpp-python -d "$BUILD" "llama-cpp-python==$LLAMA" || return 1
  rm -rf "$BUILD/unpacked"
  mkdir -p "$BUILD/unpacked"
  logged "unpack" "$BUILD/tools/bin/python" -m tarfile -e "$BUILD/$name.tar.gz" "$BUILD/unpacked" \
    || return 1
  mv "$BUILD/unpacked/$name" "$SOURCE"
  rm -f "$BUILD/$name.tar.gz"
}

# Cures for what llama.cpp and its compilers do, included in front of every file.
#
# gcc ≤ 12 takes the operand of ldtilecfg for a pointer, so the optimiser drops most of the tile
# configuration, and the first decode on an AMX machine faults.
#
# Without OpenMP, a decode thread that waits for the others spins and never yields: beside any
# busy program each of the hundreds of barriers of a step costs a time slice (measured: 5 tokens/s
# at 16 streams, 57 to 74 with this).
#
# Attention on a processor walks over every cell of the cache, for every candidate and head, to skip
# those that belong to other candidates: with 32 of them a third of a step. And from 64 tokens on it
# computes whole tiles of the mask, of which candidates that are judged together see a sixteenth.
# What skips masked cells many at a time, and what tells a mask for tiles from one for rows, are
# called by lines that quicken_attention puts into the source.
fixes_header() {
  cat <<'EOF'
#if defined(__cplusplus) && defined(__AMX_TILE__) && !defined(__clang__) && __GNUC__ < 13
#include <immintrin.h>
static inline void ttc_tile_loadconfig(const void *config) {
    struct tile_config { unsigned char bytes[64]; };
    __asm__ volatile("ldtilecfg\t%X0" : : "m"(*(const struct tile_config *)config));
}
#define _tile_loadconfig ttc_tile_loadconfig
#endif

#if !defined(__cplusplus) && defined(__x86_64__)
#include <immintrin.h>
#include <sched.h>
static inline void ttc_pause(void) {
    static __thread unsigned spins;
    __builtin_ia32_pause();
    if ((++spins & 1023u) == 0) {
        sched_yield();
    }
}
#define _mm_pause ttc_pause
#endif

#if defined(__cplusplus)
#include <stdint.h>
#include <string.h>
/* The first cell from `cell` on, up to `end`, whose mask is not minus infinity in half precision. */
static inline int64_t ttc_next_unmasked(const uint16_t *mask, int64_t cell, int64_t end) {
    const uint64_t four = UINT64_C(0xFC00FC00FC00FC00);
    uint64_t word[4];
    for (; cell + 16 <= end; cell += 16) {
        memcpy(word, mask + cell, sizeof word);
        if ((word[0] ^ four) | (word[1] ^ four) | (word[2] ^ four) | (word[3] ^ four)) {
            break;
        }
    }
    for (; cell + 4 <= end; cell += 4) {
        memcpy(word, mask + cell, sizeof word[0]);
        if (word[0] != four) {
            break;
        }
    }
    while (cell < end && mask[cell] == 0xFC00) {
        ++cell;
    }
    return cell;
}

/* Whether of the tiles (64 tokens by 64 cells) that are not masked altogether less than a quarter
   is unmasked: a cell of a tile is some four times as cheap as one that is come upon in its row. */
static inline bool ttc_is_sparse(const void *mask, size_t row_bytes, int64_t rows, int64_t cells) {
    int64_t seen = 0, tiled = 0;
    for (int64_t top = 0; top < rows; top += 64) {
        const int64_t bottom = top + 64 < rows ? top + 64 : rows;
        for (int64_t left = 0; left < cells; left += 64) {
            const int64_t right = left + 64 < cells ? left + 64 : cells;
            int64_t inside = 0;
            for (int64_t row = top; row < bottom; ++row) {
                const uint16_t *at = (const uint16_t *)((const char *)mask + row * row_bytes);
                unsigned count = 0;
                for (int64_t cell = left; cell < right; ++cell) {
                    count += at[cell] != 0xFC00;
                }
                inside += count;
            }
            seen += inside;
            tiled += inside ? (bottom - top) * (right - left) : 0;
        }
    }
    return 4 * seen < tiled;
}
#endif
EOF
}

# Puts the calls into ggml's source, once. One that looks otherwise than the one this was written for
# stays as it is, and that is said by the status.
quicken_attention() {
  local file="$1" row='const float mv = mp ? slope*GGML_CPU_FP16_TO_FP32(mp[ic]) : 0.0f;'
  local tile='neq1 >= Q_TILE_SZ);' line
  if grep -q ttc_is_sparse "$file" 2>/dev/null; then return; fi
  for line in "$row" "$tile"; do
    if [ "$(grep -cF "$line" "$file" 2>/dev/null)" != 1 ]; then return 1; fi
  done
  awk -v row="$row" -v tile="$tile" '
    index($0, row) {
      print "            if (mp && (ic = ttc_next_unmasked(mp, ic, ic_end)) == ic_end) { break; }"
    }
    index($0, tile) {
      sub(/\);.*/, "")
      print
      print "            && !(dst->src[3] && dst->src[3]->ne[2] == 1 && dst->src[3]->ne[3] == 1"
      print "                && ttc_is_sparse(dst->src[3]->data, dst->src[3]->nb[1], neq1, nek1)));"
      next
    }
    { print }' "$file" >"$file.new" && mv "$file.new" "$file"
}

# Read by CMake right after project(): plain variables there win over upstream's forced cache
# entries (policy CMP0126). The common library is the servers' and half of the compile time.
cmake_overrides() {
  cat <<'EOF'
set(LLAMA_BUILD_COMMON OFF)
set(include_fixes " -include \"${CMAKE_CURRENT_LIST_DIR}/fixes.h\"")
string(APPEND CMAKE_C_FLAGS "${include_fixes}")
string(APPEND CMAKE_CXX_FLAGS "${include_fixes}")
EOF
  if [ "$OS" = Darwin ] && [ "$accelerator" = cpu ]; then say 'set(GGML_METAL OFF)'; fi
}

hash_file() {
  "$PYTHON" -c 'import hashlib, pathlib, sys
print(hashlib.sha256(pathlib.Path(sys.argv[1]).read_bytes()).hexdigest())' "$1" 2>/dev/null
}

# Whether the wheel of the profile that was read is kept, whole and as it was built.
is_kept() {
  local folder="$WHEELS/$KEY" wheel
  if [ "$(cat "$folder/key.txt" 2>/dev/null)" != "$KEY_TEXT" ]; then return 1; fi
  wheel="$(find "$folder" -name '*.whl')"
  if [ -n "$wheel" ] && [ "$(hash_file "$wheel")" = "$(cat "$folder/sha256.txt" 2>/dev/null)" ]; then
    return 0
  fi
  warn "what is kept of $LABEL is not what was built here: building it again"
  return 1
}

# Builds the profile that was read, and leaves its wheel in $WHEELS/$KEY, with its hash. False if it
# cannot: UNFETCHED where no other profile could either.
build_wheel() {
  local work="$BUILD/$KEY" new status=0
  mkdir -p "$work" "$WHEELS"
  new="$(mktemp -d "$WHEELS/.new-XXXXXX")"
  if [ "$compiler" = prebuilt ]; then
    # Upstream's own index; nothing else is asked for this one file.
    logged "prebuilt library" pip_in "$VENV" --timeout 10 --retries 1 download --no-deps \
      --no-cache-dir --only-binary :all: -d "$new" "llama-cpp-python==$LLAMA" --index-url \
      "https://abetlen.github.io/llama-cpp-python/whl/$instructions" || status=1
  else
    make_tools || { rm -rf "$new"; return $UNFETCHED; }
    if [ "$compiler" = zig ]; then
      make_zig "$(if [ "$instructions" != native ]; then echo -mcpu=baseline; fi)" \
        || { rm -rf "$new"; return 1; }
    fi
    fetch_source || { rm -rf "$new"; return $UNFETCHED; }
    fixes_header >"$work/fixes.h"
    cmake_overrides >"$work/overrides.cmake"
    quicken_attention "$SOURCE/vendor/llama.cpp/ggml/src/ggml-cpu/ops.cpp" \
      || printf '\n### attention is not quickened: ops.cpp is not as it was\n' >>"$LOG"
    # Upstream installs into its source tree as well: another profile's libraries must not stay.
    rm -rf "$SOURCE/llama_cpp/lib"
    if [ -t 2 ]; then
      show_progress &
      WATCHER=$!
    fi
    # pip's own cache knows nothing of CMAKE_ARGS: it would hand back a crashing wheel.
    CC="$CC" CXX="$CXX" CMAKE_BUILD_PARALLEL_LEVEL="$JOBS" SKBUILD_BUILD_DIR="$work/cmake" \
      PATH="$BUILD/tools/bin:$PATH" \
      CMAKE_ARGS="$FLAGS '-DCMAKE_PROJECT_llama_cpp_INCLUDE=$work/overrides.cmake' ${CMAKE_ARGS:-}" \
      logged "compile" pip_in "$BUILD/tools" wheel -v --no-build-isolation --no-deps \
      --no-cache-dir -w "$new" "$SOURCE" || status=1
    if [ -n "$WATCHER" ]; then
      kill "$WATCHER" 2>/dev/null || true
      wait "$WATCHER" 2>/dev/null || true
      WATCHER=""
      printf '\r\033[K' >&2
    fi
  fi
  if [ "$status" != 0 ]; then
    rm -rf "$new"
    return 1
  fi
  hash_file "$(find "$new" -name '*.whl')" >"$new/sha256.txt" || { rm -rf "$new"; return 1; }
  printf '%s\n' "$KEY_TEXT" >"$new/key.txt"
  rm -rf "${WHEELS:?}/$KEY"
  mv "$new" "$WHEELS/$KEY"
  rm -rf "$work"
}

# --- setting up -----------------------------------------------------------------------------

# Two clones share one cache. The lock is the system's, on a file that this shell holds open: it goes
# with the last of its processes, however that ends.
take_lock() {
  local lock="$CACHE/install.pid" holder
  exec 9>>"$lock"
  if ! "$PYTHON" -c 'import fcntl
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    raise SystemExit(1)
except OSError:
    pass  # a file system without locks'; then
    holder="$(cat "$lock")"
    fail "Another $PROGRAM is at work${holder:+ (process $holder)}." "$PROGRAM"
  fi
  printf '%s\n' "$$" >"$lock"
  trap clean_up EXIT
}

clean_up() {
  if [ -n "$WATCHER" ]; then kill "$WATCHER" 2>/dev/null || true; fi
  rm -rf "$WHEELS"/.new-*
}

make_venv() {
  if [ -x "$VENV/bin/python" ] && python_is_new_enough "$VENV/bin/python" \
    && "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
    return
  fi
  step "Making .venv with $PYTHON"
  rm -rf "$VENV"
  logged "venv" "$PYTHON" -m venv "$VENV" || fail_with_log "python could not make .venv"
}

fail_with_log() {
  printf '\n' >&2
  tail -n 15 "$LOG" | sed 's/^/    /' >&2
  fail "$1. The whole log: $LOG" ${2+"$2"}
}

install_ttc() {
  local what="$ROOT"
  if [ "$DEV" = 1 ]; then what="${ROOT}[dev]"; fi
  step "Installing ttc and what it needs"
  logged "ttc" pip_in "$VENV" install -e "$what" \
    || fail_with_log "ttc's Python packages could not be installed (is the package index reachable?)" "$PROGRAM"
}

ttc() { "$VENV/bin/ttc" "$@"; }

# Sets CHECK_FILE to the smallest model's file, or that of the model to be used, or to nothing.
fetch_check_model() {
  CHECK_FILE=""
  if [ "$MODELS" = 0 ]; then return; fi
  step "Fetching the smallest model, for the test"
  if ! CHECK_FILE="$(ttc models pull "$CHECK_MODEL")"; then
    fetch_model
    CHECK_FILE="$MODEL_FILE"
  fi
}

# Sets MODEL_FILE to the file of the model that will be used.
fetch_model() {
  MODEL_FILE=""
  if [ "$MODELS" = 0 ]; then return; fi
  step "Fetching ${MODEL:-the model that suits this machine}"
  # Without a name, pull takes the default.
  if ! MODEL_FILE="$(ttc models pull --yes ${MODEL:+"$MODEL"})"; then
    fail "The model could not be fetched. What was built is kept." "$PROGRAM"
  fi
}

# Models that the live tests solve on, the smallest that can reason among them.
fetch_test_models() {
  local name
  if [ "$MODELS" = 0 ] || [ "$DEV" = 0 ]; then return; fi
  step "Fetching the models of the tests"
  for name in "$CHECK_MODEL" "$TEST_MODEL"; do
    if ! ttc models pull --yes "$name" >/dev/null; then
      warn "live tests will be skipped. Later: .venv/bin/ttc models pull $name"
    fi
  done
}

check_decode() {
  "$VENV/bin/python" -m ttc_cli.engines.llamacpp.selftest "$CHECK_FILE" --fresh >>"$LOG" 2>&1
}

# Takes the first profile that builds, decodes in a child process and does not crash.
install_engine() {
  local profile folder wheel status installed_ttc=0 failed=""
  while IFS= read -r profile <&3; do
    if [ -z "$profile" ]; then continue; fi
    read_profile "$profile"
    folder="$WHEELS/$KEY"
    if [ "$REBUILD" = 1 ]; then rm -rf "$folder"; fi
    if [ -f "$folder/crashed" ]; then
      say "    Skipping $LABEL: it crashed here before."
      continue
    fi
    if is_kept; then
      step "llama.cpp was built before: $LABEL"
    else
      check_disk
      case "$compiler" in
        prebuilt) step "Fetching $LABEL" ;;
        *) step "Compiling llama.cpp: $LABEL, $JOBS at once (minutes)" ;;
      esac
      status=0
      build_wheel || status=$?
      if [ "$status" = "$UNFETCHED" ]; then
        fail_with_log \
          "What compiling takes could not be fetched (is the package index reachable?)" "$PROGRAM"
      elif [ "$status" != 0 ]; then
        warn "that did not work ($LABEL); the log: $LOG"
        failed="$failed$LABEL; "
        continue
      fi
    fi
    wheel="$(find "$folder" -name '*.whl')"
    logged "install" pip_in "$VENV" install --no-deps --force-reinstall "$wheel" \
      || fail_with_log "$wheel could not be installed" "$PROGRAM --rebuild"
    if [ "$installed_ttc" = 0 ]; then
      # Only now: with no engine there, ttc would pull in and compile a plain one.
      install_ttc
      fetch_check_model
      installed_ttc=1
    fi
    if [ -z "$CHECK_FILE" ]; then
      CHECKED="$UNTESTED"
      return
    fi
    step "Testing it: a real decode in a child process"
    status=0
    check_decode || status=$?
    if [ "$status" = 0 ]; then
      CHECKED="a real decode in a child process"
      return
    fi
    if [ "$status" != "$BAD_BUILD" ]; then
      fail_with_log "the test could not be run" "$PROGRAM --rebuild"
    fi
    warn "this build crashes here ($LABEL): taking a safer one"
    failed="$failed$LABEL; "
    rm -f "$folder"/*.whl "$folder/key.txt" "$folder/speed.txt"
    touch "$folder/crashed"
  done 3<<EOF
$PROFILES
EOF
  fail_with_log "No build of llama.cpp works here. Tried: ${failed:-nothing new; all crashed before}" \
    "$PROGRAM --rebuild"
}

check_disk() {
  local folder="$CACHE" free
  while [ ! -d "$folder" ]; do folder="$(dirname "$folder")"; done
  free="$(df -Pm "$folder" 2>/dev/null | awk 'NR == 2 { print $4 }')"
  case "$free" in '' | *[!0-9]*) return ;; esac
  if [ "$free" -lt "$NEEDED_MB" ]; then
    fail "Compiling needs about $NEEDED_MB MB of disk; $folder has $free MB." \
      "TTC_HOME=/path/with/room $PROGRAM"
  fi
}

home() {
  if [ -z "${HOME:-}" ]; then
    fail "HOME is not set: nobody knows where to keep what is built." \
      "TTC_HOME=/path/with/room $PROGRAM"
  fi
  say "$HOME"
}

# Makes the cache and begins the log.
open_cache() {
  local reason
  reason="$( { mkdir -p "$CACHE" && printf '### %s\n' "$(date)" >"$LOG"; } 2>&1)" \
    || fail "Nothing can be kept in $CACHE: ${reason##*: }." "TTC_HOME=/path/with/room $PROGRAM"
}

set_paths() {
  # The same folder as ttc_cli.paths.cache_dir().
  if [ -n "${TTC_HOME:-}" ]; then
    case "$TTC_HOME" in
      \~) CACHE="$(home)/cache" ;;
      \~/*) CACHE="$(home)/${TTC_HOME#\~/}/cache" ;;
      /*) CACHE="$TTC_HOME/cache" ;;
      *) CACHE="$PWD/$TTC_HOME/cache" ;;
    esac
  elif [ "$OS" = Darwin ]; then
    CACHE="$(home)/Library/Caches/ttc"
  else
    CACHE="${XDG_CACHE_HOME:-$(home)/.cache}/ttc"
  fi
  WHEELS="$CACHE/wheels"
  BUILD="$CACHE/build"
  LOG="$CACHE/install.log"
}

read_llama_version() {
  LLAMA="$(sed -n 's/.*"llama-cpp-python==\([0-9.]*\)".*/\1/p' "$ROOT/pyproject.toml")"
  if [ -z "$LLAMA" ]; then fail "pyproject.toml pins no llama-cpp-python: is this a whole clone?"; fi
}

# Everything the result depends on that is cheap to know.
fingerprint() {
  {
    cat "$ROOT/install.sh" "$ROOT/pyproject.toml"
    say "$PLANNED|${PROFILES%%$'\n'*}|$FEATURES|${CMAKE_ARGS:-}|${CFLAGS:-}|${CXXFLAGS:-}|$VENV"
  } | cksum | tr ' ' '-'
}

stamped() { sed -n "s/^$1=//p" "$STAMP" 2>/dev/null || true; }

# stamp NAME VALUE
stamp() {
  { sed "/^$1=/d" "$STAMP"; say "$1=$2"; } >"$STAMP.new"
  mv "$STAMP.new" "$STAMP"
}

write_stamp() {
  cat >"$STAMP" <<EOF
fingerprint=$(fingerprint)
dev=$DEV
built=$LABEL
key=$KEY
checked=$CHECKED
EOF
}

print_plan() {
  local profile found
  say "python       $PYTHON"
  say "engine       llama-cpp-python $LLAMA"
  say "accelerator  $ACCELERATOR"
  say "features     ${FEATURES:-unknown}"
  say "jobs         $JOBS"
  say "cache        $CACHE"
  say "profiles, the first that builds and does not crash:"
  while IFS= read -r profile; do
    if [ -z "$profile" ]; then continue; fi
    read_profile "$profile"
    say "  $LABEL"
    say "    compiler $CC"
    say "    flags    ${FLAGS:-none}"
    say "    key      $KEY"
    found="$(measured "$WHEELS/$KEY")"
    if [ -n "$found" ]; then
      say "    measured ${found%% *} tokens/s at 16 candidates (${found#* })"
    fi
  done <<EOF
$PROFILES
EOF
}

measure_speed() {
  local speed=""
  if [ -z "$MODEL_FILE" ]; then return; fi
  step "Measuring its speed (5 seconds)"
  speed="$("$VENV/bin/python" -m ttc_cli.engines.llamacpp.selftest "$MODEL_FILE" --speed \
    2>>"$LOG")" || warn "the speed could not be measured: .venv/bin/ttc doctor says why"
  if [ -z "$speed" ]; then return; fi
  speed="$(basename "$MODEL_FILE"): $speed"
  stamp speed "$speed"
  keep_speed "$WHEELS/$(stamped key)" "$speed"
}

# keep_speed FOLDER SPEED: beside the wheel, for the choice among several. What was measured beside
# other programs does not replace what was not.
keep_speed() {
  if [ ! -d "$1" ]; then return; fi
  case "$2" in
    *", while other programs compute") if [ -n "$(measured "$1")" ]; then return; fi ;;
  esac
  printf '%s\n' "$2" >"$1/speed.txt"
}

# Sets FASTER to "WHAT|COMMAND", or to nothing: a build that was measured here and beats this one, or
# a compiler that could be installed.
find_faster() {
  local before="${PROFILES%%$'\n'*}" found
  PROFILES="$PLANNED"
  prefer_measured
  FASTER=""
  if [ "${PROFILES%%$'\n'*}" != "$before" ] && [ -n "$PROFILES" ]; then
    read_profile "${PROFILES%%$'\n'*}"
    found="$(measured "$WHEELS/$KEY")"
    if [ "$KEY" != "$(stamped key)" ] && [ -n "$found" ]; then
      FASTER="$LABEL: ${found%% *} tokens/s at 16 candidates here|$PROGRAM"
    fi
  fi
  if [ -z "$FASTER" ]; then FASTER="$(name_faster "$(stamped built)")"; fi
  stamp faster "${FASTER%%|*}"
  stamp faster_command "${FASTER#*|}"
}

summarise() {
  say ""
  say "Built    llama.cpp ($(stamped built))"
  say "Tested   $(stamped checked)"
  if [ -n "$(stamped speed)" ]; then say "Speed    $(stamped speed)"; fi
  if [ -n "$(stamped faster)" ]; then
    say "Faster   $(stamped faster)"
    say "         $(stamped faster_command)"
  fi
  if [ "$MODELS" = 0 ]; then say "Next     $PROGRAM (fetches a model and tests the build with it)"; fi
  say "Next     .venv/bin/ttc solve \"A farmer has 17 sheep and all but 9 run away. How many are left?\""
}

is_set_up() {
  if [ "$REBUILD" = 1 ] || [ "$(stamped fingerprint)" != "$(fingerprint)" ] \
    || [ "$(stamped dev)" != "$DEV" ]; then
    return 1
  fi
  case "$(stamped checked)" in
    "$UNTESTED") if [ "$MODELS" = 1 ]; then return 1; fi ;;
  esac
  "$VENV/bin/python" -c 'import ttc_cli; from importlib.metadata import version as v; v("llama-cpp-python")' \
    2>>"$LOG"
}

main() {
  parse_options "$@"
  # What would make pip or Python look elsewhere than in .venv.
  unset PYTHONHOME PYTHONPATH PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV
  # What lies in the folder that this is called from is not imported.
  export PYTHONSAFEPATH=1
  export PIP_DISABLE_PIP_VERSION_CHECK=1
  detect_machine
  set_paths
  read_llama_version
  choose_jobs
  find_python
  choose_accelerator
  plan_profiles
  prefer_measured
  if [ "$DRY_RUN" = 1 ]; then
    print_plan
    return
  fi
  open_cache
  # A later run without options keeps what an earlier one was asked for.
  if [ "$(stamped dev)" = 1 ]; then DEV=1; fi
  MODEL="${MODEL:-$(stamped model)}"
  if is_set_up; then
    step "ttc is set up already"
    MODEL_FILE="$(stamped file)"
    if [ ! -f "$MODEL_FILE" ] || [ "$MODEL" != "$(stamped model)" ]; then
      fetch_model
      stamp model "$MODEL"
      stamp file "$MODEL_FILE"
    fi
    fetch_test_models
    if [ -z "$(stamped speed)" ]; then
      measure_speed
    else
      keep_speed "$WHEELS/$(stamped key)" "$(stamped speed)"
    fi
    find_faster
    summarise
    return
  fi
  take_lock
  make_venv
  rm -f "$STAMP"
  install_engine
  write_stamp
  fetch_model
  stamp model "$MODEL"
  stamp file "$MODEL_FILE"
  fetch_test_models
  measure_speed
  find_faster
  rm -rf "$BUILD"
  summarise
}

# Sourced by the tests for its functions; run otherwise.
if [ "${BASH_SOURCE[0]}" = "$0" ]; then main "$@"; fi
