"""Wiring: one owner per partition, one queue for alerts, the admin service."""

from __future__ import annotations

from kestrel.admin.v1 import kernel_pb2_grpc
from kestrel_chassis.service import ServiceContext
from kestrel_chassis.snapshots import SnapshotStore
from kestrel_kernel.config import KernelSettings
from kestrel_kernel.shell.admin import ROLES, KernelAdmin
from kestrel_kernel.shell.alert_queue import AlertQueue
from kestrel_kernel.shell.owner import PartitionOwner
from kestrel_kernel.shell.patient_parking import PatientParking
from kestrel_kernel.shell.served import ServedPartition
from kestrel_kernel.shell.snapshots import PartitionSnapshots
from kestrel_kernel.shell.tenure import OwnerParts


async def build(context: ServiceContext[KernelSettings]) -> None:
    """Add everything this service runs to the context."""
    settings = context.settings
    alert_queue = AlertQueue(context.bus)
    context.supervisor.add("alerts", alert_queue.run, restart=True)
    store = SnapshotStore(context.bus)
    parking = PatientParking(context.parking)
    served = [ServedPartition(partition) for partition in range(settings.partitions)]
    for each in served:
        snapshots = PartitionSnapshots(store, each.partition)
        parts = OwnerParts(settings, context.bus, parking, snapshots, alert_queue, each)
        owner = PartitionOwner(parts, context.status, context.supervisor.stopping)
        context.supervisor.add(f"partition-{each.partition}", owner.run, restart=True)
    context.admin.add(kernel_pb2_grpc.add_KernelServiceServicer_to_server, KernelAdmin(context.bus, served), ROLES)
