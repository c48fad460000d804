"""The weights of a model folder, read tensor by tensor or by rows, in the shapes of this project's model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from model.data.hf_checkpoint import (
    TOKEN_TABLES,
    add_token_rows,
    check_finite,
    padded_rows,
    untrained_rows,
)
from model.data.tokenizer import Tokenizer
from model.data.weights_header import inspect_model, read_headers, weight_files
from model.errors import UserError


class StoredWeights:
    """A model folder's weights, of which only those that are asked for are read.

    If the tokenizer lacks the chat's tokens they are added, and their embeddings are the mean of the others.

    Attributes:
        architecture: The shape, with the rows of the tokens that were added.
        tokenizer: The folder's tokenizer, with these tokens.
    """

    def __init__(self, folder: Path, context_length: int = 0) -> None:
        """Check a folder and read its configuration.

        Args:
            folder: The model folder.
            context_length: The longest context, in tokens; 0: the model's own.

        Raises:
            UserError: A file is missing, truncated, or does not fit config.json.
        """
        self.folder = folder
        architecture, headers = inspect_model(folder, context_length)
        self.tokenizer = Tokenizer.load(folder)
        self.files = {name: path for path in weight_files(folder) for name in read_headers(path)}
        # A tied model may store the table twice. Two different tables are not tied, whatever the file says.
        twice = architecture.tie_embeddings and TOKEN_TABLES[1] in self.files
        if twice and not torch.equal(*(self._read_rows(name, slice(None)) for name in TOKEN_TABLES)):
            architecture = replace(architecture, tie_embeddings=False)
        rows = headers[TOKEN_TABLES[0]].shape[0]
        self.added = untrained_rows(rows, self.tokenizer)
        if rows < self.tokenizer.vocab_size:
            rows = padded_rows(self.tokenizer.vocab_size)
        new = tuple(sorted({*architecture.new_tokens, *self.tokenizer.added}))
        self.architecture = replace(architecture, vocab_size=rows, new_tokens=new)

    def read_rows(self, name: str, rows: slice) -> Tensor:
        """Return some rows of a weight, in its stored type.

        Raises:
            UserError: A file cannot be read, or a weight is not finite.
        """
        if name in TOKEN_TABLES and self.added:
            # The mean needs the whole table.
            value = add_token_rows(self._read_rows(name, slice(None)), self.tokenizer)[rows].clone()
        else:
            value = self._read_rows(name, rows)
        check_finite(self.folder, name, value)
        return value

    def _read_rows(self, name: str, rows: slice) -> Tensor:
        path = self.files[name]
        try:
            with safe_open(path, framework="pt") as file:
                value: Tensor = file.get_tensor(name) if rows == slice(None) else file.get_slice(name)[rows]
                return value
        except SafetensorError as error:
            raise UserError(f"{path} is incomplete ({error}); copy or create it again") from error
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error})") from error
