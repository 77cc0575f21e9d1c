"""What planning knows of a causal language model. Needs no torch."""

from dataclasses import dataclass

from harness.contract.flops import linear_forward


@dataclass(frozen=True)
class LanguageShape:
    """What is known of a language model before its weights are read.

    Attributes:
        dim: Dimension of its input embeddings.
        layers: Number of blocks.
        width: Width of attention in every block: heads x head dimension.
        weights: Entries of the weight matrices of all blocks together, without embeddings and head.
        vocabulary: Number of tokens that are told apart.
        context: Longest sequence.
        tokens: Width of its token tables: captions are cut there, end token included.
        prompt: Tokens of the text between prefix and caption, which is not predicted.
    """

    dim: int
    layers: int
    width: int
    weights: int
    vocabulary: int
    context: int
    tokens: int
    prompt: int = 0

    def length(self, prefix: int, tokens: int | None = None) -> int:
        """Positions that are read: start, prefix, prompt, and the caption without its last token.

        Args:
            prefix: Input embeddings that a connector makes.
            tokens: Width of the captions; None: of whole token tables.
        """
        return prefix + self.prompt + (self.tokens if tokens is None else tokens)

    def forward_flops(self, rows: int, prefix: int, tokens: int | None = None) -> float:
        """FLOPs of the losses of so many captions: blocks, attention and head; see ``length`` for the arguments."""
        length, width = self.length(prefix, tokens), self.tokens if tokens is None else tokens
        attention = 4.0 * self.layers * rows * length * length * self.width
        head = linear_forward(rows * width, self.dim, self.vocabulary)
        return linear_forward(rows * length, self.weights, 1) + attention + head

    def step_flops(self, rows: int, prefix: int, tokens: int | None = None) -> float:
        """The same with the gradient of the inputs: no weight has one.

        Every matrix product with a weight has one more backward, every product of two activations two more.
        """
        length = self.length(prefix, tokens)
        attention = 4.0 * self.layers * rows * length * length * self.width
        return 2 * self.forward_flops(rows, prefix, tokens) + attention
