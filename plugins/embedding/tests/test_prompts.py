import pytest
from modelhost import BadInputError, UnsupportedError
from modelhost_embedding.prompts import Prompts

E5 = Prompts({"query": "query: ", "passage": "passage: ", "document": ""})


@pytest.mark.parametrize("name", ["query", "document", "clustering", None])
def test_a_model_without_prompts_takes_the_usual_names_and_puts_nothing_in_front(name):
    assert Prompts({}).text(name) == ""


def test_upper_and_lower_case_are_alike_unless_the_model_tells_them_apart():
    prompts = Prompts({"STS": "a", "sts": "b", "Clustering": "c"})
    assert [prompts.text(name) for name in ("STS", "sts", "clustering", "CLUSTERING")] == ["a", "b", "c", "c"]


def test_a_document_gets_the_prompt_a_model_has_for_passages():
    assert E5.text("document") == E5.text("passage") == "passage: "


def test_a_name_nobody_has_is_refused_with_those_there_are():
    with pytest.raises(BadInputError, match="it has query, document, clustering, passage") as refused:
        E5.text("poetry")
    assert refused.value.param == "prompt_name"


def test_the_models_own_default_holds_where_no_name_is_given():
    assert Prompts({"document": "d: "}, "document").text(None) == "d: "


def test_a_title_stands_in_its_place_and_makes_a_document_of_the_text():
    prompts = Prompts({"document": "title: none | text: "})
    assert prompts.text("document", "Cats") == prompts.text(None, "Cats") == "title: Cats | text: "
    assert prompts.text("document") == "title: none | text: "


def test_a_title_is_refused_where_it_has_no_place():
    with pytest.raises(UnsupportedError, match="no place for a title"):
        E5.text("document", "Cats")
    with pytest.raises(BadInputError, match="only a document"):
        E5.text("query", "Cats")
