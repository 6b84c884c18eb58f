"""What others have published, where it is and on what terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_LADEDA = "https://github.com/barcavia/RealTime-DeepfakeDetection-in-the-RealWorld"
_LADEDA_WEIGHTS = "https://drive.google.com/drive/folders/1KxNdnPRJJTuqxmzBPiGsg43tXzO8AN2d"
_LADEDA_COMMIT = "e734562bbb6763f5bb2951099e9dc9a38df5e7dd"
_TINY_WEIGHTS = (
    "https://raw.githubusercontent.com/barcavia/RealTime-DeepfakeDetection-in-the-RealWorld/"
    f"{_LADEDA_COMMIT}/weights/Tiny_LaDeDa"
)
_CNN_DETECTION = "https://huggingface.co/datasets/sywang/CNNDetection"
_UFD = "https://github.com/WisconsinAIVision/UniversalFakeDetect"

_YISSUM = (
    "Software Research License of Yissum (The Hebrew University of Jerusalem): research use only, "
    "no commercial use or gain; its text and notices go along with every copy and whatever is "
    "made from it."
)
_CC_BY_NC_SA = (
    "Creative Commons Attribution-NonCommercial-ShareAlike 4.0 (CC BY-NC-SA 4.0): no commercial "
    "use; name the authors; share what you make of it under the same licence."
)


@dataclass(frozen=True, slots=True)
class Part:
    """One file of an entry.

    `name` is what it is called on the command line, and the folder that it is unpacked into; `size`
    is as its publishers state it, in words; `sha256` is None where nobody has published it; an
    `optional` one is left out unless it is asked for.
    """

    name: str
    file: str
    address: str
    size: str = ""
    sha256: str | None = None
    unpack: bool = True
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A data set, or weights: what it is, the page where its publishers describe it and a person
    can fetch it by hand, its terms in short and where their text is, its files, and a note.
    """

    title: str
    page: str
    licence: str
    licence_address: str
    parts: tuple[Part, ...]
    note: str = ""


def _drive(name: str, file: str, identity: str) -> Part:
    return Part(name, file, f"https://drive.google.com/uc?export=download&id={identity}")


def _cnn(name: str, file: str, size: str = "", volume: bool = False) -> Part:
    address = f"{_CNN_DETECTION}/resolve/main/{file}"
    return Part(name, file, address, size, unpack=not volume, optional=volume)


def _tiny(name: str, file: str, size: str, sha256: str) -> Part:
    return Part(name, file, f"{_TINY_WEIGHTS}/{file}", size, sha256, unpack=False)


ENTRIES: Mapping[str, Entry] = MappingProxyType(
    {
        "wildrf": Entry(
            title="WildRF: real and generated pictures from Reddit, X and Facebook",
            page="https://drive.google.com/file/d/1A0xoL44Yg68ixd-FuIJn2VC4vdZ6M2gn/view",
            licence=(
                "Its authors state no licence for the pictures, which were collected from social "
                f"media and remain their owners'. Their repository stands under the {_YISSUM}"
            ),
            licence_address=f"{_LADEDA}/blob/main/LICENSE",
            parts=(_drive("pictures", "WildRF.zip", "1A0xoL44Yg68ixd-FuIJn2VC4vdZ6M2gn"),),
            note="Google Drive asks a person to confirm a large file: expect to use --from.",
        ),
        "forensynth": Entry(
            title="ForenSynths: 13 generators, mostly GANs, with their real counterparts",
            page=_CNN_DETECTION,
            licence=_CC_BY_NC_SA,
            licence_address="https://github.com/PeterWang512/CNNDetection/blob/master/LICENSE.txt",
            parts=(
                _cnn("test", "CNN_synth_testset.zip", "about 19 GB"),
                _cnn("val", "progan_val.zip"),
                *(
                    _cnn(f"train-{n}", f"progan_train.7z.00{n}", "of seven, in all 72 GB", True)
                    for n in range(1, 8)
                ),
            ),
            note=(
                "The training set is seven volumes of one 7-Zip archive: fetch train-1 to "
                "train-7, then unpack with '7z x progan_train.7z.001' and 'unzip progan_train.zip'."
            ),
        ),
        "ufd": Entry(
            title="UniversalFakeDetect: 1000 pictures each of diffusion models, with LAION photos",
            page="https://drive.google.com/file/d/1FXlGIRh_Ud3cScMgSVDbEWmPDmjcrm1t/view",
            licence=(
                "Its authors state no licence for the pictures; their code is under the MIT "
                "licence. Photographs come from LAION and ImageNet and remain their owners'."
            ),
            licence_address=f"{_UFD}/blob/main/LICENSE",
            parts=(
                _drive("diffusion", "diffusion_datasets.zip", "1FXlGIRh_Ud3cScMgSVDbEWmPDmjcrm1t"),
            ),
            note=(
                "Others have reported the published link as gone; a copy goes in with --from. The "
                "GAN half of this benchmark is the part 'test' of forensynth."
            ),
        ),
        "ladeda-weights": Entry(
            title="LaDeDa as its authors trained it, on WildRF and on ForenSynths",
            page=_LADEDA_WEIGHTS,
            licence=_YISSUM,
            licence_address=f"{_LADEDA}/blob/main/LICENSE",
            parts=tuple(
                Part(name, f"{file}_LaDeDa.pth", _LADEDA_WEIGHTS, unpack=False)
                for name, file in (("wildrf", "WildRF"), ("forensynth", "ForenSynth"))
            ),
            note=(
                "A folder on a drive, which has no address for each file: open its page in a "
                "browser, then give a file with --part NAME --from FILE."
            ),
        ),
        "upstream-weights": Entry(
            title="Tiny-LaDeDa as its authors trained it, on WildRF and on ForenSynths",
            page=f"{_LADEDA}/tree/main/weights/Tiny_LaDeDa",
            licence=_YISSUM,
            licence_address=f"{_LADEDA}/blob/main/LICENSE",
            parts=(
                _tiny(
                    "wildrf",
                    "WildRF_Tiny_LaDeDa.pth",
                    "11654 bytes",
                    "5e063100564d2ddfe9bf48074e351c8f2b38855552574a18a0738e7f2a764d80",
                ),
                _tiny(
                    "forensynth",
                    "ForenSynth_Tiny_LaDeDa.pth",
                    "12405 bytes",
                    "4624258c70489cbff2778153ce6fc7f5ed16170b59a541a06dc3d4c759fd68a6",
                ),
            ),
        ),
    }
)
"""By the name on the command line."""
