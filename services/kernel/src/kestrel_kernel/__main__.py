"""``python -m kestrel_kernel --config PATH`` starts the kernel service."""

from kestrel_chassis.service import main
from kestrel_kernel.config import KernelSettings
from kestrel_kernel.service import build

if __name__ == "__main__":
    main(KernelSettings, build)
