"""Configuration of Allegro."""

from typing import Annotated, ClassVar

from msgspec import Meta

from jles.config import count, positive
from jles.models.backbones.record import BackboneRecord, Choice, Envelope, Sample


class AllegroConfig(BackboneRecord, tag_field="kind", tag="allegro"):
    """Allegro (Musaelian et al. 2023), with the names of its published implementation.

    Every pair of an atom and a neighbour has `num_scalar_features` scalars, the latent
    features, and `num_tensor_features` channels of tensors of every degree up to `l_max`. Only
    tensors of natural parity, (-1)^l, are kept. `scalar_embed_mlp` is the network that makes
    the first scalars from distance and elements (two-body latent), `allegro_mlp` the one that
    updates them in every layer; both have `depth` hidden layers of `width`.
    `latent_resnet_ratio` is the weight of an update relative to the scalars it is added to.
    `avg_num_neighbors` divides sums over neighbours, by its root.
    """

    num_layers: count(8) = 2
    l_max: count(3, least=0) = 2
    num_scalar_features: count(4096) = 64
    num_tensor_features: count(1024) = 32
    scalar_embed_mlp_hidden_layers_depth: count(16) = 2
    scalar_embed_mlp_hidden_layers_width: count(4096) = 64
    allegro_mlp_hidden_layers_depth: count(16, least=0) = 2
    allegro_mlp_hidden_layers_width: count(4096) = 64
    num_bessels: count(64) = 8
    polynomial_cutoff_p: count(100, least=2) = 6
    latent_resnet_ratio: Annotated[float, Meta(ge=0.0, le=100.0)] = 0.5
    avg_num_neighbors: positive(1e6) = 15.0

    degree_key: ClassVar[str] = "l_max"
    usual_cutoff: ClassVar[float] = 5.0

    @classmethod
    def choices(cls, sample: Sample) -> dict[str, Choice]:
        """Values for a new training file, of keys that depend on the data or are often set."""
        few = sample.frames < 500
        return {
            "num_layers": Choice(2, "1 is faster; the receptive field is always the cutoff"),
            "l_max": Choice(2, "dipoles need 1, quadrupoles 2; 3 is more accurate"),
            "num_scalar_features": Choice(32 if few else 64, "scalars of a pair"),
            "num_tensor_features": Choice(8 if few else 16, "channels of tensors; 64 on a GPU"),
            "avg_num_neighbors": Choice(
                round(max(1.0, sample.neighbors), 1), "of this data; scales the sums"
            ),
        }

    @property
    def scalar_embed_mlp(self) -> tuple[int, ...]:
        """Sizes of the hidden layers of the network of the first scalars."""
        depth = self.scalar_embed_mlp_hidden_layers_depth
        return (self.scalar_embed_mlp_hidden_layers_width,) * depth

    @property
    def allegro_mlp(self) -> tuple[int, ...]:
        """Sizes of the hidden layers of the network of every layer."""
        depth = self.allegro_mlp_hidden_layers_depth
        return (self.allegro_mlp_hidden_layers_width,) * depth

    @property
    def degree(self) -> int:
        """Highest degree of the features: 0 invariants, 1 vectors, 2 tensors."""
        return min(2, self.l_max)

    @property
    def messages_passed(self) -> int:
        """How many times features pass between neighbours: never."""
        return 0

    @property
    def envelope_of_edges(self) -> Envelope:
        """The envelope of the edges."""
        return Envelope(self.cutoff, "polynomial", float(self.polynomial_cutoff_p))
