"""An object of a bucket as a file for reading, whose errors are OSErrors."""

import io
from typing import BinaryIO

from pipeline.storage import places


class RemoteFile(io.RawIOBase):
    """What a storage client opened; each read is a request, and fails as `places.client_errors`
    says."""

    def __init__(self, stream: BinaryIO, url: str) -> None:
        super().__init__()
        self._stream = stream
        self._url = url

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def read(self, size: int = -1) -> bytes:
        with places.client_errors(self._url):
            return self._stream.read(size)

    def close(self) -> None:
        self._stream.close()
        super().close()
