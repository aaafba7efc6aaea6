import gzip
import json

import numpy as np
import pytest

from fleetgym.traces.errors import TraceError
from fleetgym.traces.formats import azure_llm, burstgpt, mooncake, vidur
from fleetgym.traces.schema import MAX_SIZE

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens"
AZURE_2023 = [
    AZURE,
    "2023-11-16 18:15:46.6805900,374,44",
    "2023-11-16 18:15:50.9951690,396,109",
    "2023-11-16 18:15:51.2224671,879,55",
]
AZURE_2024 = [
    AZURE,
    "2024-05-12 00:00:00.00401+00:00,100,10",
    "2024-05-12 02:00:00.50401+02:00,200,20",
    "2024-05-12 00:00:01+00:00,300,30",
]
BURST = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"
BURST_1 = [BURST, "5,ChatGPT,472,18,490,Conversation log", "45,GPT-4,1087,230,1317,API log"]
BURST_2 = [
    "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type",
    "5.25,7,1.5,ChatGPT,472,18,490,Conversation log",
    "45,,,GPT-4,1087,230,1317,API log",
]
VIDUR = [
    "arrived_at,num_prefill_tokens,num_decode_tokens",
    "0.0,374,44",
    "4.314579,396,109",
    "5.8926549999999995,91,16",
]
SPLITWISE = [
    "request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,token_size",
    "0,2,0,0.25,1,374,44",
    "1,2,0,1.5,1,396,109",
]
CSV = {
    "azure-2023": (azure_llm, AZURE_2023),
    "azure-2024": (azure_llm, AZURE_2024),
    "burst-1": (burstgpt, BURST_1),
    "burst-2": (burstgpt, BURST_2),
    "vidur": (vidur, VIDUR),
    "splitwise": (vidur, SPLITWISE),
}


def request(time=0, prompt=600, output=5, ids=(7, 9)):
    return {
        "timestamp": time,
        "input_length": prompt,
        "output_length": output,
        "hash_ids": list(ids),
    }


@pytest.fixture
def file(tmp_path):
    """Writes lines to a file; returns the path."""

    def write(lines, end="\n", name="trace.csv"):
        content = end.join(lines).encode()
        path = tmp_path / name
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


@pytest.fixture
def jsonl(file):
    def write(rows, name="trace.jsonl"):
        return file([r if isinstance(r, str) else json.dumps(r) for r in rows], name=name)

    return write


@pytest.mark.parametrize(
    ("format_", "arrivals_us", "prompts", "outputs"),
    [
        ("azure-2023", [0, 4_314_579, 4_541_877], [374, 396, 879], [44, 109, 55]),
        ("azure-2024", [0, 500_000, 995_990], [100, 200, 300], [10, 20, 30]),
        ("burst-1", [5_000_000, 45_000_000], [472, 1087], [18, 230]),
        ("burst-2", [5_250_000, 45_000_000], [472, 1087], [18, 230]),
        ("vidur", [0, 4_314_579, 5_892_655], [374, 396, 91], [44, 109, 16]),
        ("splitwise", [250_000, 1_500_000], [374, 396], [44, 109]),
    ],
)
@pytest.mark.parametrize("name", ["trace.csv", "trace.csv.gz"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_published_csv(file, format_, arrivals_us, prompts, outputs, name, end):
    reader, lines = CSV[format_]
    trace, report = reader.read(file(lines, end, name))
    assert trace.name == "trace"
    assert (trace.arrival_ns // 1000).tolist() == arrivals_us
    assert not (trace.arrival_ns % 1000).any()
    assert trace.prompt_tokens.tolist() == prompts
    assert trace.output_tokens.tolist() == outputs
    assert trace.num_programs == trace.num_blocks == trace.client.max() == 0
    assert (report.kept, report.dropped, report.repaired) == ((f"{len(prompts)} requests",), (), ())
    assert trace.arrival_ns.dtype == np.int64
    assert trace.prompt_tokens.dtype == trace.output_tokens.dtype == np.int32


def test_mixed_line_ends(file):
    text = f"{AZURE_2023[0]}\r\n{AZURE_2023[1]}\n{AZURE_2023[2]}\r\n{AZURE_2023[3]}"
    assert len(azure_llm.read(file([text]))[0]) == 3


def test_unordered_and_empty_requests_are_repaired_and_counted(file):
    lines = [VIDUR[0], "2.0,5,5", "1.0,6,6", "1.5,0,7", "2.0,8,8", "1.0,9,9", "3.0,10,0"]
    trace, report = vidur.read(file(lines))
    assert trace.prompt_tokens.tolist() == [6, 9, 5, 8]  # equal times stay in the file's order
    assert trace.arrival_ns.tolist() == [10**9, 10**9, 2 * 10**9, 2 * 10**9]
    assert report.dropped == ("2 requests without a token in or out",)
    assert report.repaired == ("2 arrivals before the line above: sorted",)


def test_the_earliest_azure_time_is_0_wherever_it_stands(file):
    lines = [AZURE_2023[0], *AZURE_2023[:0:-1]]
    trace, report = azure_llm.read(file(lines))
    assert trace.prompt_tokens.tolist() == [374, 396, 879]
    assert trace.arrival_ns[0] == 0
    assert report.repaired == ("2 arrivals before the line above: sorted",)


@pytest.mark.parametrize(
    ("format_", "column", "value", "message"),
    [
        ("azure-2023", 0, "yesterday", "line 3: TIMESTAMP is 'yesterday', expected a time like"),
        ("azure-2023", 1, "-1", "line 3: ContextTokens is '-1', expected a whole number of tokens"),
        ("azure-2023", 2, "many", "line 3: GeneratedTokens is 'many'"),
        ("azure-2023", 2, "1.5", "line 3: GeneratedTokens is '1.5'"),
        ("azure-2023", 2, "", "line 3: GeneratedTokens is None"),
        ("azure-2023", 1, str(MAX_SIZE + 1), "line 3: ContextTokens"),
        ("azure-2023", 1, "9" * 30, "line 3: ContextTokens"),
        ("burst-1", 0, "-5", "line 3: Timestamp is '-5', expected a number of seconds"),
        ("burst-1", 0, "nan", "line 3: Timestamp is 'nan'"),
        ("burst-2", 0, "inf", "line 3: Timestamp is 'inf'"),
        ("burst-2", 4, "-7", "line 3: Request tokens is '-7'"),
        ("vidur", 0, "-0.1", "line 3: arrived_at is '-0.1'"),
        ("vidur", 0, "1e9", "line 3: arrived_at is '1e9'"),
        ("vidur", 1, "x", "line 3: num_prefill_tokens is 'x'"),
        ("splitwise", 6, "-3", "line 3: token_size is '-3'"),
    ],
)
def test_a_wrong_cell_is_named(file, format_, column, value, message):
    reader, lines = CSV[format_]
    cells = lines[2].split(",")
    cells[column] = value
    with pytest.raises(TraceError) as caught:
        reader.read(file([*lines[:2], ",".join(cells), *lines[3:]]))
    assert message in str(caught.value)
    assert "trace.csv" in str(caught.value)


def test_the_first_of_several_wrong_cells_is_named(file):
    lines = [VIDUR[0], "0.0,1,1", "0.5,2,x", "y,3,3", "0.7,z,4"]
    with pytest.raises(TraceError, match="line 3: num_decode_tokens is 'x'"):
        vidur.read(file(lines))


@pytest.mark.parametrize(
    ("format_", "column", "message"),
    [
        ("azure-2023", "ContextTokens", r"columns \['ContextTokens'\] are missing"),
        ("burst-1", "Response tokens", r"columns \['Response tokens'\] are missing"),
        ("vidur", "arrived_at", "expected one of the columns arrived_at and arrival_timestamp"),
        ("splitwise", "token_size", "columns num_decode_tokens and token_size"),
    ],
)
def test_a_missing_column_is_named(file, format_, column, message):
    reader, lines = CSV[format_]
    with pytest.raises(TraceError, match=message):
        reader.read(file([lines[0].replace(column, "other"), *lines[1:]]))


def test_two_spellings_of_a_column(file):
    with pytest.raises(TraceError, match="num_prefill_tokens and prompt_size"):
        vidur.read(file([f"{VIDUR[0]},prompt_size", "0.0,1,1,1"]))


@pytest.mark.parametrize("reader", [azure_llm, burstgpt, vidur, mooncake])
def test_files_that_are_none(tmp_path, reader):
    path = tmp_path / "trace"
    with pytest.raises(TraceError, match="no such file"):
        reader.read(path)
    path.write_bytes(b"")
    with pytest.raises(TraceError, match=r"not the CSV expected|holds no request"):
        reader.read(path)
    path.write_bytes(b"\xff\xfe\x00,1\n\xff,2\n")
    with pytest.raises(TraceError, match="trace"):
        reader.read(path)
    with pytest.raises(TraceError, match="cannot be read"):
        reader.read(tmp_path)


@pytest.mark.parametrize("format_", CSV)
def test_no_request_is_left(file, format_):
    reader, lines = CSV[format_]
    with pytest.raises(TraceError, match="holds no request with tokens"):
        reader.read(file(lines[:1]))


def test_a_line_with_more_cells_than_columns(file):
    with pytest.raises(TraceError, match="not the CSV expected"):
        vidur.read(file([*VIDUR, "6.0,1,1,1"]))


@pytest.mark.parametrize("format_", CSV)
def test_cut_off_gzip(file, format_):
    reader, lines = CSV[format_]
    path = file(lines, name="trace.csv.gz")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(TraceError, match="cut off or corrupt"):
        reader.read(path)


@pytest.mark.parametrize("name", ["trace.jsonl", "trace.jsonl.gz"])
def test_mooncake(jsonl, name):
    rows = [
        request(0, 1300, 5, [40, 41, 90]),
        request(3000, 600, 6, [40, 77]),
        "",
        request(3000, 1024, 7, [40, 41]),
        request(6000, 3, 8, []),
    ]
    trace, report = mooncake.read(jsonl(rows, name))
    assert trace.arrival_ns.tolist() == [0, 3 * 10**9, 3 * 10**9, 6 * 10**9]
    assert trace.prompt_tokens.tolist() == [1300, 600, 1024, 3]
    assert trace.output_tokens.tolist() == [5, 6, 7, 8]
    assert trace.hash_tokens == 512
    assert trace.hash_start.tolist() == [0, 3, 5, 7]
    assert trace.hash_count.tolist() == [3, 2, 2, 0]
    assert trace.hashes.tolist() == [0, 1, 3, 0, 2, 0, 1]
    assert trace.num_blocks == 4
    assert report.kept == ("4 requests",)


def test_mooncake_without_hashes(jsonl):
    trace, _ = mooncake.read(jsonl([request(ids=[])]))
    assert (trace.hash_tokens, len(trace.hashes)) == (0, 0)


def test_mooncake_repairs_with_the_hashes_in_step(jsonl):
    rows = [
        request(2000, 600, 5, [3, 4]),
        request(1000, 600, 0, [5, 6]),
        request(1000, 300, 6, [9]),
    ]
    trace, report = mooncake.read(jsonl(rows))
    assert trace.prompt_tokens.tolist() == [300, 600]
    assert trace.hash_count.tolist() == [1, 2]
    assert trace.hashes.tolist() == [2, 0, 1]  # 9, 3, 4; what only the dropped one had is gone
    assert report.dropped == ("1 requests without a token in or out",)
    assert report.repaired == ("1 arrivals before the line above: sorted",)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (request(time=-1), "line 3: timestamp is -1, expected a whole number from 0"),
        (request(time=0.5), "line 3: timestamp is 0.5"),
        (request(time="soon"), "line 3: timestamp is 'soon'"),
        (request(time=True), "line 3: timestamp is True"),
        (request(prompt=-4), "line 3: input_length is -4"),
        (request(output=MAX_SIZE + 1), "line 3: output_length"),
        ({"timestamp": 1, "input_length": 2}, "line 3: output_length is None"),
        ({**request(), "hash_ids": None}, "line 3: hash_ids is None"),
        ({**request(), "hash_ids": 3}, "line 3: hash_ids is 3"),
        ({**request(), "hash_ids": [1, None]}, r"line 3: hash_ids is \[1, None\]"),
        ({**request(), "hash_ids": ["a"]}, "line 3: hash_ids"),
        ({**request(), "hash_ids": [2**70]}, "line 3: hash_ids"),
        ("[1, 2]", "line 3: expected an object"),
        ("{}{}", "line 3: not JSON, or cut off"),
        ('{"timestamp": 3, "inp', "line 3: not JSON, or cut off"),
        (request(ids=[1, 2, 3, 4]), "has more hashes than tokens"),
    ],
)
def test_a_wrong_line_of_mooncake_is_named(jsonl, row, message):
    with pytest.raises(TraceError, match=message):
        mooncake.read(jsonl([request(), "", row]))


def test_cut_off_mooncake_gzip(jsonl):
    path = jsonl([request()] * 9, "trace.jsonl.gz")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(TraceError, match="cut off or corrupt"):
        mooncake.read(path)


def test_real_azure(real):
    trace, report = azure_llm.read(real("serving/AzureLLMInferenceTrace_conv.csv.gz"))
    assert len(trace) == 19_366
    assert trace.arrival_ns[[0, 1, -1]].tolist() == [0, 4_314_579_000, 3_501_721_937_000]
    assert (trace.prompt_tokens.max(), trace.output_tokens.max()) == (14_050, 1_000)
    assert (report.dropped, report.repaired) == ((), ())


def test_real_mooncake(real):
    trace, report = mooncake.read(real("serving/mooncake_conversation_trace.jsonl.gz"))
    assert len(trace) == 12_031
    assert (len(trace.hashes), trace.num_blocks) == (288_500, 182_790)
    assert (trace.hash_count == -(-trace.prompt_tokens // 512)).all()
    assert (report.dropped, report.repaired) == ((), ())
