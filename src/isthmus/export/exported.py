"""An export on disk."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isthmus.batch import Impressions
from isthmus.errors import ConfigError
from isthmus.evaluation.types import UNKNOWN
from isthmus.export.manifest import MEND, ExportManifest, read
from isthmus.export.runtime import GraphSession
from isthmus.files import verify


class Exported:
    """A directory of graphs, and what its manifest says.

    Attributes:
        path: the directory.
        manifest: what it is.
    """

    def __init__(self, path: Path, manifest: ExportManifest) -> None:
        self.path, self.manifest = path, manifest

    @classmethod
    def open(cls, path: Path | str) -> "Exported":
        """Open an export, and check the hash of every file of it.

        Raises:
            DataError: there is none. IntegrityError: a file is not what it was.
        """
        path = Path(path)
        manifest = read(path)
        verify(path, manifest.files, MEND)
        return cls(path, manifest)

    @property
    def bytes(self) -> int:
        """Of all files but the manifest."""
        return sum(digest.bytes for digest in self.manifest.files.values())

    def session(self, domain: str) -> GraphSession:
        """The graph of a domain in onnxruntime; "(unknown)" for that of the unknown one.

        Raises:
            ConfigError: the domain is not in the export.
        """
        if domain not in self.manifest.graphs:
            raise ConfigError(
                f"{self.path} has no domain {domain!r}; it has: {', '.join(self.manifest.graphs)}"
            )
        file = self.path / self.manifest.graphs[domain].file
        return GraphSession(file, self.manifest.features)

    def probabilities(self, rows: Impressions) -> NDArray[np.float64]:
        """P(label = 1) of every row, each by its own domain's graph: [B] float64.

        Raises:
            ConfigError: a row's domain is not in the export.
        """
        names = (UNKNOWN, *self.manifest.features.domains)
        found = np.empty(len(rows))
        for domain in np.unique(rows.domain.numpy()).tolist():
            own = (rows.domain == domain).nonzero()[:, 0]
            found[own.numpy()] = self.session(names[domain])(rows[own])
        return found
