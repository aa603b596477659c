"""The sample model's ControlNet, begun as a copy of some of its layers, and a batched forward pass of both together."""

import torch
from diffusers import ZImageControlNetModel, ZImageTransformer2DModel
from networks import PATCH, RealRopeProcessor
from torch import Tensor, nn

PLACES = (0, 2, 4)  # the transformer's layers that a control block speaks into
KEY = f"{PATCH}-1"


def build_controlnet(transformer: ZImageTransformer2DModel) -> ZImageControlNetModel:
    """Control blocks with the weights of the layers they stand beside; what they add is nothing at first."""
    config = transformer.config
    model = ZImageControlNetModel(
        control_layers_places=list(PLACES),
        control_refiner_layers_places=[0],
        control_in_dim=config.in_channels,
        add_control_noise_refiner=None,
        dim=config.dim,
        n_refiner_layers=config.n_refiner_layers,
        n_heads=config.n_heads,
        n_kv_heads=config.n_kv_heads,
    )
    with torch.no_grad():
        for place, layer in zip(PLACES, model.control_layers, strict=True):
            layer.load_state_dict(transformer.layers[place].state_dict(), strict=False)
        for mine, theirs in zip(model.control_noise_refiner, transformer.noise_refiner, strict=True):
            mine.load_state_dict(theirs.state_dict())
        model.control_all_x_embedder.load_state_dict(transformer.all_x_embedder.state_dict())
        # Zero here would keep the control out of its own chain until the outward projection has grown.
        nn.init.eye_(model.control_layers[0].before_proj.weight)
    return model


def use_real_rope_in_control(model: ZImageControlNetModel) -> None:
    """As `networks.use_real_rope` (training only)."""
    for layer in (*model.control_layers, *model.control_noise_refiner):
        layer.attention.processor = RealRopeProcessor()


def controlled_velocity(
    model: ZImageTransformer2DModel,
    control: ZImageControlNetModel,
    tokens: Tensor,
    edges: Tensor,
    token_padding: Tensor,
    t: Tensor,
    caption: Tensor,
    caption_padding: Tensor,
    image_rope: tuple[Tensor, Tensor],
    caption_rope: tuple[Tensor, Tensor],
) -> Tensor:
    """As `networks.velocity`, with the control's say. edges: patches of the encoded edge map, (B, N, 64)."""
    count = tokens.shape[1]
    adaln = model.t_embedder(t * model.t_scale).to(tokens.dtype)  # (B, 192)

    def padded(x: Tensor) -> Tensor:
        return torch.where(token_padding[None, :, None], model.x_pad_token.to(x.dtype), x)

    tokens = padded(model.all_x_embedder[KEY](tokens))  # (B, N, dim)
    for layer in model.noise_refiner:
        tokens = layer(tokens, None, image_rope, adaln)
    words = model.cap_embedder(caption)  # (B, L, dim)
    words = torch.where(caption_padding[..., None], model.cap_pad_token.to(words.dtype), words)
    for layer in model.context_refiner:
        words = layer(words, None, caption_rope)
    both = torch.cat([tokens, words], 1)  # (B, N + L, dim)
    both_rope = torch.cat([image_rope[0], caption_rope[0]]), torch.cat([image_rope[1], caption_rope[1]])

    context = padded(control.control_all_x_embedder[KEY](edges))  # (B, N, dim)
    for layer in control.control_noise_refiner:
        context = layer(context, None, image_rope, adaln)
    context = torch.cat([context, words], 1)  # (B, N + L, dim)
    for layer in control.control_layers:
        context = layer(context, both, None, both_rope, adaln)
    hints = context.unbind()[:-1]
    for index, layer in enumerate(model.layers):
        both = layer(both, None, both_rope, adaln)
        if index in PLACES:
            both = both + hints[PLACES.index(index)]
    return model.all_final_layer[KEY](both[:, :count], c=adaln)  # (B, N, 64)
