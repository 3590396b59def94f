"""Settings of the server; each is an option of ``nbmlp serve`` and a variable NBMLP_<NAME>."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_data_path
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from nbmlp.errors import SpecError

__all__ = ["ServerSettings", "settings_from"]

_MB = 1 << 20


class ServerSettings(BaseSettings):
    """All that may be set; the descriptions are the help of the command line."""

    model_config = SettingsConfigDict(env_prefix="NBMLP_", extra="ignore", frozen=True)

    # -- where
    host: str = Field(default="127.0.0.1", description="Address to listen at.")
    port: int = Field(default=8765, ge=0, le=65535, description="Port to listen at; 0: any.")
    data_dir: Path = Field(
        default_factory=lambda: user_data_path("nbmlp", appauthor=False),
        description="Folder of the database, data sets, checkpoints and models.",
    )

    # -- the store
    database_timeout: float = Field(
        default=10.0, gt=0, le=600, description="Seconds to wait for a locked database."
    )
    quota_mb: int = Field(
        default=50_000, ge=1, description="Most that the data folder may hold, in MB."
    )
    reserve_mb: int = Field(
        default=200, ge=0, description="MB of the disk that are left free: nothing new below."
    )

    # -- jobs
    cores: int | None = Field(
        default=None, ge=1, le=1024, description="Cores for jobs in all; by default every core."
    )
    threads_per_job: int | None = Field(
        default=None, ge=1, le=1024, description="Cores of a job that names none; default: all."
    )
    max_queued: int = Field(default=1000, ge=1, description="Jobs that may wait.")
    job_memory_mb: int = Field(
        default=4096, ge=256, description="Address space of a job's process beyond its start, MB."
    )
    job_wall_seconds: int = Field(
        default=86_400, ge=1, description="Wall time of a job, all of its attempts together."
    )
    job_cpu_seconds: int = Field(
        default=345_600, ge=1, description="CPU time of each attempt of a job."
    )
    job_disk_mb: int = Field(
        default=2048, ge=1, description="Largest file that a job may write, and its folder, MB."
    )
    checkpoint_seconds: float = Field(
        default=5.0, ge=0, description="Seconds between two checkpoints; 0: after each epoch only."
    )
    max_attempts: int = Field(
        default=5, ge=1, description="Crashes in a row, without an epoch between, until it fails."
    )
    events_days: float = Field(
        default=90.0, gt=0,
        description="Days after a job's end until its events go; curve and diagnosis stay.",
    )  # fmt: skip
    keys_days: float = Field(
        default=7.0, gt=0, description="Days until an Idempotency-Key is forgotten."
    )
    diagnosis_seconds: float = Field(
        default=30.0, ge=0, le=3600, description="Time to look for causes of a failure; 0: never."
    )

    # -- who may ask, and how much
    allow_remote: bool = Field(
        default=False, description="Allow another address than this machine's own."
    )
    allowed_hosts: str = Field(
        default="", description="Further host names to answer to, separated by commas."
    )
    trusted_proxies: str = Field(
        default="", description="Addresses of proxies whose X-Forwarded headers are believed."
    )
    token_file: Path | None = Field(
        default=None, description="Write the first token here (mode 600) instead of printing it."
    )
    session_hours: float = Field(
        default=12.0, gt=0, le=720, description="Hours until a browser has to sign in again."
    )
    rate: float = Field(
        default=100.0, gt=0, description="Requests per second of a token; of an address without."
    )
    burst: int = Field(default=300, ge=1, description="Requests that may come at once.")
    max_connections: int = Field(default=512, ge=1, description="Connections in all.")
    max_streams: int = Field(default=16, ge=1, description="Event streams of one token.")
    header_seconds: float = Field(
        default=10.0, gt=0,
        description="Seconds for a request's head to arrive, and for which a body may stand still.",
    )  # fmt: skip
    body_rate: float = Field(
        default=1000.0, gt=0, description="Least bytes per second of a body, uploads included."
    )
    body_seconds: float = Field(
        default=30.0, gt=0, description="Seconds for a request's body, uploads aside."
    )
    body_mb: int = Field(default=16, ge=1, description="Largest body of rows to predict, MB.")
    work_mb: int = Field(
        default=512, ge=1, description="Bodies and answers at work in all, MB; 429 beyond."
    )
    write_seconds: float = Field(
        default=30.0, gt=0, description="Seconds that a reader may stall until it is cut off."
    )
    shutdown_seconds: int = Field(
        default=2, ge=1, le=60, description="Seconds that open requests get at the end."
    )
    models_kept: int = Field(default=8, ge=1, description="Models kept in memory.")

    # -- uploads
    upload_mb: int = Field(default=1024, ge=1, description="Largest file that is taken, in MB.")
    upload_seconds: float = Field(default=900.0, gt=0, description="Seconds for an upload.")
    uploads: int = Field(default=2, ge=1, description="Uploads of one token at a time.")
    parsers: int = Field(
        default=2, ge=1, description="Uploaded files that are read at a time, one of each token."
    )
    expanded_mb: int = Field(
        default=4096, ge=1, description="Largest size of a file's contents once unpacked, MB."
    )
    max_columns: int = Field(default=20_000, ge=1, description="Most columns of a data set.")
    parse_memory_mb: int = Field(
        default=4096, ge=64, description="Memory of the process that reads an uploaded file, MB."
    )
    parse_seconds: float = Field(
        default=300.0, gt=0, description="Seconds for reading an uploaded file."
    )

    # -- logging
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="How much is logged."
    )

    @property
    def work_bytes(self) -> int:
        """Of bodies and answers at work: there is room for some bodies in any case."""
        return max(self.work_mb, 4 * self.body_mb) * _MB

    @property
    def quota_bytes(self) -> int:
        """Of the data folder."""
        return self.quota_mb * _MB


def settings_from(given: Mapping[str, Any]) -> ServerSettings:
    """Options, else variables, else defaults; raises SpecError."""
    try:
        return ServerSettings(**given)
    except ValidationError as error:
        wrong = error.errors()[0]
        name = str(wrong["loc"][0])
        prefix = ServerSettings.model_config["env_prefix"]
        raise SpecError(
            f"--{name.replace('_', '-')} (or {prefix}{name.upper()}): {wrong['msg']}."
        ) from None
