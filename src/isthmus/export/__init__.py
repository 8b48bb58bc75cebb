"""Trained models as ONNX graphs, which a runtime scores with, and neither torch nor Isthmus.

Of AREAD each domain is a graph of its own that holds only what its mask keeps; tables of embeddings
lie beside the graphs once, in 32, 16 or 8 bits a number. Importing this without the extra
``isthmus[export]`` raises ConfigError.
"""

from importlib.util import find_spec

from isthmus.errors import ConfigError

for _name in ("onnx", "onnxruntime", "onnxscript"):
    if find_spec(_name) is None:
        raise ConfigError(
            f"exporting needs {_name}, which is not installed; pip install 'isthmus[export]'"
        )

from isthmus.export.exported import Exported
from isthmus.export.run import Wanted, export
from isthmus.export.runtime import ExportError

__all__ = ["ExportError", "Exported", "Wanted", "export"]
