"""What is loaded, where, and with which numbers; and what is refused, with the remedy."""

import json
import shutil
from pathlib import Path

import msgspec
import pytest
import torch
from conftest import chat, needs_torchao
from modelhost import BadInputError, NotReadyError, Source
from modelhost.contract.backend import read_options
from modelhost_gemma_audio import GemmaAudioOptions, checkpoint, placement
from safetensors.torch import load_file, save_file
from sounds import voiced


@pytest.fixture
def copy(folder, tmp_path):
    """Copy a tiny checkpoint, to break it."""

    def copy(family):
        return Path(shutil.copytree(folder(family), tmp_path / family))

    return copy


def options(folder=Path("nowhere"), **values):
    return GemmaAudioOptions(source=Source("tiny", path=folder), **values)


class TestNamingTheModel:
    @pytest.mark.parametrize(
        ("variant", "uri"),
        [
            ("E2B", "hf:google/gemma-3n-E2B-it"),
            ("E4B", "hf:google/gemma-3n-E4B-it"),
            ("gemma-4-E2B", "hf:google/gemma-4-E2B-it"),
            ("gemma-4-12B", "hf:google/gemma-4-12B-it"),
        ],
    )
    def test_a_variant_is_short_for_a_source(self, variant, uri):
        assert read_options(GemmaAudioOptions, {"variant": variant}).source == Source(uri)

    def test_what_the_host_resolved_stands_beside_the_variant(self):
        resolved = {"uri": "hf:google/gemma-3n-E2B-it", "path": "/weights"}
        assert read_options(GemmaAudioOptions, {"variant": "E2B", "source": resolved}).source.path == Path("/weights")

    @pytest.mark.parametrize(
        "values", [{}, {"variant": "E2B", "source": "hf:someone/else"}, {"variant": "E3B"}, {"dtype": "float16"}]
    )
    def test_no_model_two_models_and_unknown_values_are_refused(self, values):
        with pytest.raises(msgspec.ValidationError):
            read_options(GemmaAudioOptions, values)


class TestCheckpoint:
    def test_what_is_no_gemma_is_refused_by_name(self, copy):
        folder = copy("gemma2")
        (folder / "config.json").write_text('{"model_type": "llama"}')
        with pytest.raises(BadInputError, match="is a llama model, and this plugin runs gemma3n"):
            checkpoint.look(folder)

    def test_code_of_a_checkpoint_is_not_run(self, copy):
        folder = copy("gemma2")
        settings = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**settings, "auto_map": {"AutoModel": "evil.Model"}}))
        with pytest.raises(NotReadyError, match="code of its own"):
            checkpoint.look(folder)

    def test_pickled_weights_are_not_read(self, copy):
        folder = copy("gemma2")
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        with pytest.raises(NotReadyError, match=r"no \*\.safetensors"):
            checkpoint.look(folder)

    @pytest.mark.parametrize("broken", ["no folder", "empty", "no json"])
    def test_missing_and_damaged_files_are_told(self, tmp_path, broken):
        folder = tmp_path / "model"
        if broken != "no folder":
            folder.mkdir()
        if broken == "no json":
            (folder / "config.json").write_text("{")
        with pytest.raises((BadInputError, NotReadyError), match=r"whole|not JSON"):
            checkpoint.look(folder)

    def test_a_checkpoint_that_lacks_a_weight_is_not_half_loaded(self, copy, load):
        folder = copy("gemma2")
        weights = load_file(folder / "model.safetensors")
        save_file({name: value for name, value in weights.items() if "layers.2" not in name}, folder / "model.safetensors")
        with pytest.raises(NotReadyError, match=r"lacks .* of its weights"):
            load(folder)

    def test_damaged_weights_are_told(self, copy, load):
        folder = copy("gemma2")
        (folder / "model.safetensors").write_bytes(b"\xff" * 100)
        with pytest.raises(NotReadyError, match="damaged"):
            load(folder)

    @pytest.mark.parametrize("missing", ["tokenizer.json", "preprocessor_config.json"])
    def test_a_missing_part_is_named(self, copy, load, missing):
        folder = copy("gemma4")
        (folder / missing).unlink()
        with pytest.raises(NotReadyError, match=r"tokenizer|feature extractor"):
            load(folder)

    @pytest.mark.parametrize("family", ["gemma3n", "gemma4"])
    def test_eyes_are_left_out_and_nothing_else_changes(self, copy, load, folder, family):
        """The files of the real ones have the weights of a vision tower, and a configuration of it."""
        seeing = copy(family)
        weights = load_file(seeing / "model.safetensors")
        save_file(
            {**weights, "model.vision_tower.encoder.weight": torch.ones(3)},
            seeing / "model.safetensors",
            metadata={"format": "pt"},
        )
        settings = json.loads((seeing / "config.json").read_text())
        eyes = (
            {"architecture": "mobilenetv5_300m_enc", "do_pooling": False}
            if family == "gemma3n"
            else {"model_type": "gemma4_vision"}
        )
        settings["vision_config"] = {**(settings["vision_config"] or {}), **eyes}
        (seeing / "config.json").write_text(json.dumps(settings))
        request = chat(voiced(2.0), "What is it?", max_tokens=10, temperature=0.0, ignore_eos=True)
        assert load(seeing).text(request) == load(folder(family)).text(request)

    def test_a_checkpoint_without_ears_only_reads(self, copy, load):
        folder = copy("gemma4")
        settings = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**settings, "audio_config": None}))
        gemma = load(folder)
        assert gemma.card.inputs == ("text",)
        assert gemma.text(chat("Hello.", max_tokens=5)) is not None


class TestPlacement:
    def test_a_device_that_is_not_here_is_an_error_of_the_configuration(self, folder):
        with pytest.raises(BadInputError, match=r"options\.device"):
            placement.choose_placement(checkpoint.look(folder("gemma4")), options(device="cuda:7"))

    @pytest.mark.parametrize(
        ("settings", "dtype"),
        [({}, torch.float32), ({"dtype": "bfloat16"}, torch.bfloat16), ({"low_memory": True}, torch.float32)],
    )
    def test_a_cpu_computes_in_float32_unless_told(self, folder, settings, dtype):
        look = checkpoint.look(folder("gemma4"))
        assert (
            placement.choose_placement(look, options(**settings)).dtype == dtype
        )  # the tiny one's weights are stored in float32

    def test_low_memory_keeps_16_bits_and_one_place(self, copy, load):
        folder = copy("gemma2")
        weights = {name: value.bfloat16() for name, value in load_file(folder / "model.safetensors").items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        settings = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**settings, "dtype": "bfloat16"}))
        gemma = load(folder, low_memory=True)
        assert gemma.torch.dtype == torch.bfloat16
        assert gemma.model.parts.slots == 1
        assert gemma.answer(chat("Hello.", max_tokens=3))[-1].usage.output_tokens <= 3

    def test_a_cpu_refuses_what_would_not_fit_with_the_figures(self, folder):
        look = checkpoint.look(folder("gemma4"))
        with pytest.raises(NotReadyError, match=r"take 0\.0 GB here, and max_memory_gb allows 0\.0"):
            placement.choose_placement(look, options(max_memory_gb=0.0001))
        placement.choose_placement(look, options(max_memory_gb=1.0))

    def test_four_bits_are_for_gpus(self, folder):
        with pytest.raises(BadInputError, match=r"int4.*needs a CUDA GPU"):
            placement.choose_placement(checkpoint.look(folder("gemma4")), options(quantization="int4"))

    def test_a_gpu_gets_eight_bits_only_where_the_model_would_not_fit(self, folder, monkeypatch):
        look = checkpoint.look(folder("gemma4"))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
        for free, quantization in ((look.size * 10, "none"), (look.size // 8, "int8")):
            monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10**12))
            placed = placement.choose_placement(look, options(device="cuda:0"))
            assert (placed.quantization, placed.dtype) == (quantization, torch.bfloat16)

    def test_a_limit_of_gpu_memory_leaves_the_rest_in_main_memory(self, folder, monkeypatch):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**10, 10**12))
        placed = placement.Placement("cuda:1", torch.bfloat16, "none")
        arguments = placement.load_arguments(placed, options(max_memory_gb=6))
        assert arguments["device_map"] == "auto"
        assert arguments["max_memory"][1] == 6 * 10**9
        assert arguments["max_memory"]["cpu"] > 10**9

    @needs_torchao
    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    @pytest.mark.parametrize("family", ["gemma3n", "gemma4", "gemma2"])
    def test_eight_bits_on_a_cpu_compute_and_leave_the_ears(self, load, folder, family):
        gemma = load(folder(family), quantization="int8")
        decoder = gemma.torch.get_decoder()
        assert "Int8" in type(decoder.layers[0].mlp.down_proj.weight).__name__
        assert gemma.answer(chat("Hello.", max_tokens=3, temperature=0.0))[-1].usage.output_tokens <= 3
        if gemma.model.parts.audio_features:
            names = [type(weight).__name__ for name, weight in gemma.torch.named_parameters() if "audio_tower" in name]
            assert names
            assert not any("Int8" in name for name in names)

    def test_eight_bits_without_their_library_name_it(self, folder, load, monkeypatch):
        monkeypatch.setattr(placement.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(NotReadyError, match=r"pip install \"torchao"):
            load(folder("gemma2"), quantization="int8")

    def test_what_quantising_packs_is_counted_without_tables_and_ears(self, load, folder):
        """Against the model itself: linear layers of the decoder and nothing else."""
        gemma = load(folder("gemma3n"))
        numbers = checkpoint.look(folder("gemma3n")).numbers
        linear = [
            module.weight.numel()
            for name, module in gemma.torch.named_modules()
            if isinstance(module, torch.nn.Linear) and not any(part in name for part in ("audio_tower", "embed_", "lm_head"))
        ]
        assert numbers.packed == sum(linear)
        assert numbers.packed + numbers.kept == pytest.approx(gemma.torch.num_parameters(), rel=0.05)


class TestAdapter:
    @pytest.mark.filterwarnings("ignore::FutureWarning")
    def test_an_adapter_changes_what_the_model_says(self, load, folder, tmp_path):
        peft = pytest.importorskip("peft")
        plain = load(folder("gemma2"))
        settings = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
        peft.get_peft_model(load(folder("gemma2")).torch, settings).save_pretrained(tmp_path / "lora")
        adapted = load(folder("gemma2"), adapter=Source("lora", path=tmp_path / "lora"))
        request = chat("Hello.", max_tokens=20, temperature=0.0, ignore_eos=True)
        assert adapted.text(request) != plain.text(request)

    @pytest.mark.filterwarnings("ignore::FutureWarning")
    def test_what_is_no_adapter_is_refused(self, load, folder, tmp_path):
        with pytest.raises(NotReadyError, match="no adapter"):
            load(folder("gemma2"), adapter=Source("lora", path=tmp_path))
        (tmp_path / "adapter_model.safetensors").write_bytes(b"")
        with pytest.raises(NotReadyError, match="adapter"):
            load(folder("gemma2"), adapter=Source("lora", path=tmp_path))


def test_the_model_hears_silence_at_load_and_says_what_it_is(load, folder):
    gemma = load(folder("gemma4"), warm_up=True, batch_size=3, concurrency=5)
    assert gemma.card.concurrency == 5
    assert gemma.card.context_length == 4096
    assert gemma.card.device == "cpu"
    assert gemma.card.size_bytes == (folder("gemma4") / "model.safetensors").stat().st_size


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles with g++")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_a_compiled_model_says_the_same(load, folder):
    request = chat("Hello.", max_tokens=6, temperature=0.0, ignore_eos=True)
    assert load(folder("gemma2"), torch_compile=True).text(request) == load(folder("gemma2")).text(request)
