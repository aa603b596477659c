"""The endpoints that make pictures."""

import time

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from danqing.core.capabilities import ModelCard
from danqing.core.model_choice import model_for_edit
from danqing.core.submitting import SubmitKey
from danqing.core.types import Job, Mode
from danqing.dialects.openai import examples
from danqing.dialects.openai.bodies import read_fields, read_json
from danqing.dialects.openai.described import edit_body, failures, generation_body, pictures, variation_body
from danqing.dialects.openai.edits import sent_edit
from danqing.dialects.openai.making import Commission, Maker
from danqing.dialects.openai.parameters import GENERATIONS, VARIATIONS, check_parameters, given_parameters
from danqing.dialects.openai.schemas import (
    Edit,
    GenerationParameters,
    ImagesAnswer,
    VariationParameters,
)
from danqing.dialects.openai.translate_in import (
    check_prompt,
    delivery_of,
    edit_drafts,
    generation_draft,
    meant_mask,
    variation_draft,
)
from danqing.dialects.openai.uploads import variation_file
from danqing.http.dialect import Services
from danqing.http.forms import FORM_LIMITS
from danqing.http.submit_keys import submit_key
from danqing.http.uploads import staging

_Accepted = tuple[Commission, list[Job]]  # all that is kept of a request while its pictures are waited for


class ImageRoutes:
    """Handlers and where they are mounted. Errors are left to the app."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._maker = Maker(services)

    def add_to(self, router: APIRouter) -> None:
        """The routes, with what each takes and answers."""
        router.add_api_route(
            "/v1/images/generations",
            self.generations,
            methods=["POST"],
            response_model=ImagesAnswer,
            responses=pictures(examples.GENERATED, event=examples.GENERATED_EVENT) | failures(),
            openapi_extra=generation_body(),
            summary="Make pictures from a prompt",
        )
        router.add_api_route(
            "/v1/images/edits",
            self.edits,
            methods=["POST"],
            response_model=ImagesAnswer,
            responses=pictures(examples.EDITED, event=examples.EDITED_EVENT) | failures(),
            openapi_extra=edit_body(),
            summary="Edit pictures",
        )
        router.add_api_route(
            "/v1/images/variations",
            self.variations,
            methods=["POST"],
            response_model=ImagesAnswer,
            responses=pictures(examples.VARIED) | failures(),
            openapi_extra=variation_body(),
            summary="Make variations of a picture",
        )

    async def generations(self, request: Request) -> Response:
        """Pictures from a prompt; as JSON, or with `stream` as server-sent events."""
        return await self._maker.answer(request, *await self._generation(request))

    async def edits(self, request: Request) -> Response:
        """`images` repeated in a form: each is edited on its own. Else one picture is made out of all that are sent."""
        return await self._maker.answer(request, *await self._edit(request))

    async def variations(self, request: Request) -> Response:
        """Pictures that resemble one, made without a prompt."""
        return await self._maker.answer(request, *await self._variation(request))

    async def _generation(self, request: Request) -> _Accepted:
        began = time.monotonic()
        wire = await read_json(request, GenerationParameters)
        check_prompt(wire)
        commission = Commission(
            kind="image_generation",
            drafts=[generation_draft(wire)],
            variants=wire.n or 1,
            warnings=check_parameters(given_parameters(wire), GENERATIONS),
            delivery=delivery_of(wire),
            input_images=0,
            began=began,
            streamed=_streamed(wire),
            user=wire.safety_identifier or wire.user or None,
            key=self._key(request, wire),
        )
        return commission, await self._maker.submit(request, commission)

    async def _edit(self, request: Request) -> _Accepted:
        began = time.monotonic()
        async with sent_edit(request, self._services) as sent:
            wire = sent.wire
            delivery = delivery_of(wire)
            async with staging(request, self._services, together=sent.together) as pictures:
                images = [await pictures.bring(image, parameter=name) for name, image in sent.images]
                mask = await pictures.bring(sent.mask[1], parameter=sent.mask[0]) if sent.mask else None
                mask = meant_mask(wire, images, mask, together=sent.together)
                card = model_for_edit(
                    self._services.studio.catalogue,
                    wire.model or None,
                    begins=mask is not None or wire.strength is not None,
                    loras=[lora.name for lora in wire.loras or ()],
                    step_cache=bool(wire.step_cache),
                )
                commission = Commission(
                    kind="image_edit",
                    drafts=edit_drafts(wire, images, mask, together=sent.together, card=card),
                    variants=wire.n or 1,
                    warnings=sent.warnings,
                    delivery=delivery,
                    input_images=len(images),
                    began=began,
                    streamed=_streamed(wire),
                    user=wire.safety_identifier or wire.user or None,
                    key=self._key(request, wire, images, mask, sent.together),
                )
                return commission, await self._maker.submit(request, commission)

    async def _variation(self, request: Request) -> _Accepted:
        began = time.monotonic()
        async with request.form(**FORM_LIMITS) as form:
            file = variation_file(form)
            wire = read_fields(form, VariationParameters)
            warnings = check_parameters(given_parameters(wire), VARIATIONS)
            delivery, card = delivery_of(wire), self._card(wire.model, Mode.IMG2IMG)
            async with staging(request, self._services) as pictures:
                image = await pictures.upload(file, parameter="image")
                commission = Commission(
                    kind="image_variation",
                    drafts=[variation_draft(wire, image, card=card)],
                    variants=wire.n or 1,
                    warnings=warnings,
                    delivery=delivery,
                    input_images=1,
                    began=began,
                    user=wire.user or None,
                    key=self._key(request, wire, image),
                )
                return commission, await self._maker.submit(request, commission)

    def _key(self, request: Request, *said: object) -> SubmitKey | None:
        return submit_key(request, *said, lifetime=self._services.options.submit_key_lifetime)

    def _card(self, model: str | None, mode: Mode) -> ModelCard:
        """Raises UnknownModel."""
        catalogue = self._services.studio.catalogue
        return catalogue.card(model, mode=mode) if model else catalogue.default(mode=mode)


def _streamed(wire: GenerationParameters | Edit) -> int | None:
    return wire.partial_images or 0 if wire.stream else None
