"""The pieces of PL/pgSQL that read packed values; :mod:`.postgresql_functions` puts the functions together.

Rules that all of them keep: no percent sign, and no colon before a letter or digit, so that every way of running them
in SQLAlchemy takes them as they are. Nothing raises because of what a value holds, for there is no EXCEPTION block,
which a parallel worker of PostgreSQL 16 and earlier could not enter. Every name is of ``pg_catalog``, which is on every
search path. ``p`` is the offset of the byte that stands next; the value ends at ``size``.

``v`` is the value with 64 bytes behind it that begin nothing (c1 is unused in MessagePack; in CBOR it is a tag, whose
branch checks the end), so that a loop over short items need not check where they end.
"""

from __future__ import annotations

__all__ = [
    "BITS_TO_REAL",
    "DECLARE",
    "FIND",
    "HEAD",
    "INTEGER",
    "JSON_TEXT",
    "LITTLE_ENDIAN",
    "REAL",
    "SIZES",
    "SKIP",
    "TEXT_RAW",
    "TEXT_VALID",
]


def _msgpack_sizes() -> bytes:
    """Return for each first byte how many bytes the value has; 0 where that takes more than the first byte."""
    sizes = [1] * 256
    sizes[0x80:0xA0] = [0] * 32
    sizes[0xA0:0xC0] = range(1, 33)
    sizes[0xC1] = 0
    sizes[0xC4:0xCA] = [0] * 6
    sizes[0xCA:0xD4] = [5, 9, 2, 3, 5, 9, 2, 3, 5, 9]
    sizes[0xD4:0xD9] = [3, 4, 6, 10, 18]
    sizes[0xD9:0xE0] = [0] * 7
    return bytes(sizes)


def _cbor_sizes() -> bytes:
    numbers = [1] * 24 + [2, 3, 5, 9] + [0] * 4
    strings = [*range(1, 25), *[0] * 8]
    simple = [0] * 20 + [1, 1, 1, 0, 0, 3, 5, 9] + [0] * 4
    return bytes(numbers * 2 + strings * 2 + [0] * 96 + simple)


DECLARE = """
    v bytea := value || decode(repeat('c1', 64), 'hex');
    size int := length(v) - 64;
    tag int := get_byte(v, 0);
    sizes bytea;
    p int := 1;
    b int;
    c int;
    n bigint;
    w int;
    pending bigint;
    outer_ bigint[];
    step jsonb;
    key bytea;
    needle bytea;
    wanted bigint;
    left_ bigint;
    d int;
    start int;
    places int[];
    found boolean;
    is_value boolean;
    is_map boolean;
    t text;
    s text;
    j json;
    bits bigint;
    x double precision;
    raw bytea;
"""

# The bytes after the first that say a length or number, as a number. `w`: how many there are.
_ARGUMENT = "('x' || lpad(encode(substring(v FROM p + 2 FOR w), 'hex'), 16, '0'))::bit(64)::bigint"

_MSGPACK_WIDTH = """CASE
    WHEN b IN (196, 199, 217) THEN 1 WHEN b IN (197, 200, 218, 220, 222) THEN 2
    WHEN b IN (198, 201, 219, 221, 223) THEN 4 END"""

_CBOR_WIDTH = "CASE b & 31 WHEN 24 THEN 1 WHEN 25 THEN 2 WHEN 26 THEN 4 WHEN 27 THEN 8 ELSE 0 END"

# What is stored by tag alone is little-endian; into bits, as a number with a sign.
LITTLE_ENDIAN = """
bits := -(get_byte(v, size - 1) >> 7);
FOR i IN REVERSE size - 1 .. 1 LOOP bits := bits << 8 | get_byte(v, i); END LOOP;
"""

SIZES = f"""
IF size < 1 THEN RETURN NULL; END IF;
IF tag = 7 THEN
    sizes := '\\x{_msgpack_sizes().hex()}';
ELSIF tag = 8 THEN
    sizes := '\\x{_cbor_sizes().hex()}';
END IF;
"""

# Goes behind so many items as `pending` says. Inside of what is not counted that is 2^60, more than there can be, until
# the end gives back what it was before.
SKIP = f"""
WHILE pending > 0 LOOP
    b := get_byte(v, p);
    c := get_byte(sizes, b);
    IF c > 0 THEN
        p := p + c;
        pending := pending - 1;
        CONTINUE;
    END IF;
    IF p >= size THEN RETURN NULL; END IF;
    IF tag = 7 THEN
        IF b < 144 THEN
            p := p + 1;
            pending := pending - 1 + 2 * (b - 128);
        ELSIF b < 160 THEN
            p := p + 1;
            pending := pending - 145 + b;
        ELSE
            w := {_MSGPACK_WIDTH};
            IF w IS NULL THEN RETURN NULL; END IF;
            n := {_ARGUMENT};
            p := p + 1 + w;
            IF b BETWEEN 199 AND 201 THEN p := p + 1; END IF;
            IF n > size - p THEN RETURN NULL; END IF;
            IF b < 220 THEN
                p := p + n::int;
                pending := pending - 1;
            ELSE
                pending := pending - 1 + CASE WHEN b < 222 THEN n ELSE 2 * n END;
            END IF;
        END IF;
    ELSIF b = 255 THEN
        IF coalesce(cardinality(outer_), 0) = 0 THEN RETURN NULL; END IF;
        pending := outer_[cardinality(outer_)];
        outer_ := trim_array(outer_, 1);
        p := p + 1;
    ELSIF b IN (95, 127, 159, 191) THEN
        IF cardinality(outer_) >= 512 THEN RETURN NULL; END IF;
        outer_ := outer_ || (pending - 1);
        pending := 1152921504606846976;
        p := p + 1;
    ELSE
        IF b >= 224 OR b & 31 > 27 THEN RETURN NULL; END IF;
        w := {_CBOR_WIDTH};
        n := CASE w WHEN 0 THEN b & 31 ELSE {_ARGUMENT} END;
        p := p + 1 + w;
        IF b < 192 THEN
            IF n > size - p OR n < 0 THEN RETURN NULL; END IF;
            IF b < 128 THEN
                p := p + n::int;
                pending := pending - 1;
            ELSE
                pending := pending - 1 + CASE WHEN b < 160 THEN n ELSE 2 * n END;
            END IF;
        END IF;
    END IF;
END LOOP;
IF p > size THEN RETURN NULL; END IF;
"""

# The number that stands at p, into n; NULL if it is no int of 64 bits. In MessagePack and CBOR.
INTEGER = f"""
b := get_byte(v, p);
n := NULL;
w := 0;
IF tag = 7 THEN
    IF b < 128 THEN
        n := b;
    ELSIF b >= 224 THEN
        n := b - 256;
    ELSIF b BETWEEN 204 AND 211 THEN
        w := 1 << (b & 3);
        n := {_ARGUMENT};
        IF b = 207 AND n < 0 THEN
            n := NULL;
        ELSIF b >= 208 AND w < 8 AND n >= 1::bigint << 8 * w - 1 THEN
            n := n - (1::bigint << 8 * w);
        END IF;
    END IF;
ELSIF b < 64 AND b & 31 < 28 THEN
    w := {_CBOR_WIDTH};
    n := CASE w WHEN 0 THEN b & 31 ELSE {_ARGUMENT} END;
    IF n < 0 THEN
        n := NULL;
    ELSIF b >= 32 THEN
        n := -1 - n;
    END IF;
END IF;
IF p + w >= size THEN RETURN NULL; END IF;
"""

# A binary64, whose bits are a bigint, as a number. Each step is exact.
BITS_TO_REAL = """
n := bits >> 52 & 2047;
x := (bits & 4503599627370495)::double precision * 2.220446049250313e-16::double precision;
x := CASE
    WHEN n = 2047 THEN CASE WHEN x = 0 THEN 'Infinity'::double precision END
    WHEN n = 0 THEN x * 2.2250738585072014e-308::double precision
    ELSE (1 + x) * power(2::double precision, (n - 1023)::double precision) END;
IF bits < 0 THEN x := -x; END IF;
"""

# The float that stands at p, into x; NULL if it is none, or NaN. In MessagePack and CBOR.
REAL = f"""
b := get_byte(v, p);
x := NULL;
w := 0;
IF tag = 7 AND b = 203 OR tag = 8 AND b = 251 THEN
    w := 8;
    bits := {_ARGUMENT};
    {BITS_TO_REAL}
ELSIF tag = 7 AND b = 202 OR tag = 8 AND b = 250 THEN
    w := 4;
    bits := {_ARGUMENT};
    n := bits >> 23 & 255;
    x := (bits & 8388607)::double precision / 8388608;
    x := CASE
        WHEN n = 255 THEN CASE WHEN x = 0 THEN 'Infinity'::double precision END
        WHEN n = 0 THEN x * power(2::double precision, -126::double precision)
        ELSE (1 + x) * power(2::double precision, (n - 127)::double precision) END;
    IF bits >= 2147483648 THEN x := -x; END IF;
ELSIF tag = 8 AND b = 249 THEN
    w := 2;
    bits := {_ARGUMENT};
    n := bits >> 10 & 31;
    x := (bits & 1023)::double precision / 1024;
    x := CASE
        WHEN n = 31 THEN CASE WHEN x = 0 THEN 'Infinity'::double precision END
        WHEN n = 0 THEN x / 16384
        ELSE (1 + x) * power(2::double precision, (n - 15)::double precision) END;
    IF bits >= 32768 THEN x := -x; END IF;
END IF;
IF p + w >= size THEN RETURN NULL; END IF;
"""

# The bytes of the text that stands at p, into raw; NULL if it is none. In MessagePack and CBOR.
TEXT_RAW = f"""
b := get_byte(v, p);
raw := NULL;
n := NULL;
w := 0;
IF tag = 7 THEN
    IF b BETWEEN 160 AND 191 THEN
        n := b - 160;
    ELSIF b BETWEEN 217 AND 219 THEN
        w := {_MSGPACK_WIDTH};
        n := {_ARGUMENT};
    END IF;
ELSIF b BETWEEN 96 AND 123 THEN
    w := {_CBOR_WIDTH};
    n := CASE w WHEN 0 THEN b & 31 ELSE {_ARGUMENT} END;
ELSIF b = 127 THEN
    raw := '';
    p := p + 1;
    LOOP
        b := get_byte(v, p);
        EXIT WHEN b = 255;
        IF b NOT BETWEEN 96 AND 123 THEN RETURN NULL; END IF;
        w := {_CBOR_WIDTH};
        n := CASE w WHEN 0 THEN b & 31 ELSE {_ARGUMENT} END;
        p := p + 1 + w;
        IF n NOT BETWEEN 0 AND size - p THEN RETURN NULL; END IF;
        raw := raw || substring(v FROM p + 1 FOR n::int);
        p := p + n::int;
    END LOOP;
    IF p >= size THEN RETURN NULL; END IF;
    n := NULL;
END IF;
IF n IS NOT NULL THEN
    IF n NOT BETWEEN 0 AND size - p - 1 - w THEN RETURN NULL; END IF;
    raw := substring(v FROM p + 2 + w FOR n::int);
END IF;
"""

# raw as text, into t; NULL if it is no UTF-8 or has a NUL. `escape` writes bytes beyond ASCII, and NUL, as \\ooo.
TEXT_VALID = r"""
t := encode(raw, 'escape');
IF octet_length(t) = length(raw) OR t !~ '\\[0-7]' OR t ~ ('^(?:[^\\]|\\\\|\\3(?:[0][2-7]|[1-3][0-7])\\2[0-7]{2}'
    || '|\\340\\2[4-7][0-7]\\2[0-7]{2}|\\355\\2[0-3][0-7]\\2[0-7]{2}'
    || '|\\3(?:[4][1-7]|5[0-467])(?:\\2[0-7]{2}){2}'
    || '|\\360\\2[2-7][0-7](?:\\2[0-7]{2}){2}|\\36[1-3](?:\\2[0-7]{2}){3}|\\364\\2[01][0-7](?:\\2[0-7]{2}){2})*$')
THEN
    t := convert_from(raw, 'UTF8');
ELSE
    t := NULL;
END IF;
"""

# JSON, of tag 9, as json in j; NULL if it is none, is nested deeper than 100 levels, or has no value at the path. What
# PostgreSQL cannot unescape, NUL and halves of surrogate pairs, becomes U+FDD0, U+FDD1, U+FDD0, which no text has.
JSON_TEXT = r"""
raw := substring(v FROM 2 FOR size - 1);
@TEXT_VALID@
IF t IS NULL THEN RETURN NULL; END IF;
IF current_setting('server_version_num')::int >= 160000 AND length(t) - length(translate(t, '[{', '')) <= 100 THEN
    IF NOT pg_input_is_valid(t, 'json') THEN RETURN NULL; END IF;
ELSE
    -- Texts become chr(1), other plain values and then containers, from the inside, chr(2).
    IF t ~ '[\u0001\u0002]' THEN RETURN NULL; END IF;
    s := regexp_replace(t, '"(?:[^"\\\u0001-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"', chr(1), 'g');
    s := regexp_replace(s, '-?(?:[0]|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null', chr(2), 'g');
    s := translate(s, E' \t\n\r', '');
    FOR depth IN 0 .. 100 LOOP
        EXIT WHEN length(s) < 2;
        s := regexp_replace(
            s,
            '\[(?:[\u0001\u0002](?:,[\u0001\u0002])*)?\]|\{(?:\u0001:[\u0001\u0002](?:,\u0001:[\u0001\u0002])*)?\}',
            chr(2),
            'g'
        );
    END LOOP;
    IF s NOT IN (chr(1), chr(2)) THEN RETURN NULL; END IF;
END IF;
IF t ~* '\\u(?:[0]000|d[89a-f])' THEN
    t := regexp_replace(
        t,
        '(?<!\\)((?:\\\\)*)\\u(?:[0]000|[dD][89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..\\u)[dD][c-fC-F]..)',
        '\1' || chr(64976) || chr(64977) || chr(64976),
        'g'
    );
END IF;
j := t::json;
FOR i IN 0 .. jsonb_array_length(path) - 1 LOOP
    step := path -> i;
    IF jsonb_typeof(step) = 'string' THEN
        IF json_typeof(j) <> 'object' THEN RETURN NULL; END IF;
        j := j -> (step #>> '{}');
    ELSE
        IF json_typeof(j) <> 'array' OR step::bigint NOT BETWEEN -2147483648 AND 2147483647 THEN RETURN NULL; END IF;
        j := j -> step::int;
    END IF;
    IF j IS NULL THEN RETURN NULL; END IF;
END LOOP;
""".replace("@TEXT_VALID@", TEXT_VALID)


# The head of the container that stands at p: into left_ how many items or pairs it has, -1 if that is not counted, NULL
# if it is none; into w how many bytes follow the first.
HEAD = f"""
b := get_byte(v, p);
left_ := NULL;
w := 0;
IF tag = 7 THEN
    IF b BETWEEN 128 AND 159 THEN
        left_ := b & 15;
        is_map := b < 144;
    ELSIF b BETWEEN 220 AND 223 THEN
        w := {_MSGPACK_WIDTH};
        left_ := {_ARGUMENT};
        is_map := b >= 222;
    END IF;
ELSIF b BETWEEN 128 AND 191 AND b & 31 NOT BETWEEN 28 AND 30 THEN
    w := {_CBOR_WIDTH};
    left_ := CASE WHEN b & 31 = 31 THEN -1 WHEN w = 0 THEN b & 31 ELSE {_ARGUMENT} END;
    IF left_ < 0 AND b & 31 <> 31 THEN RETURN NULL; END IF;
    is_map := b >= 160;
END IF;
"""

# Goes to the value at the path, or returns NULL. In MessagePack and CBOR.
FIND = f"""
FOR i IN 0 .. jsonb_array_length(path) - 1 LOOP
    step := path -> i;
    IF tag = 8 THEN
        WHILE substring(v FROM p + 1 FOR 3) = '\\xd9d9f7' LOOP p := p + 3; END LOOP;
    END IF;
    IF p >= size THEN RETURN NULL; END IF;
    {HEAD}
    p := p + 1 + w;
    IF left_ IS NULL OR left_ > size - p THEN RETURN NULL; END IF;
    needle := NULL;
    IF jsonb_typeof(step) = 'string' THEN
        IF NOT is_map THEN RETURN NULL; END IF;
        wanted := NULL;
        key := convert_to(step #>> '{{}}', 'UTF8');
        d := length(key) + 1;
        IF d < (CASE tag WHEN 7 THEN 33 ELSE 25 END) THEN
            needle := set_byte('\\x00', 0, CASE tag WHEN 7 THEN 159 ELSE 95 END + d) || key;
        END IF;
    ELSE
        wanted := step::bigint;
        IF NOT is_map AND tag = 7 AND left_ > 0 AND get_byte(v, p) = 199 AND get_byte(v, p + 1) = 0 THEN
            -- A tuple; sets have no positions.
            c := get_byte(v, p + 2);
            IF c IN (5, 6) THEN RETURN NULL; END IF;
            IF c = 1 THEN
                p := p + 3;
                left_ := left_ - 1;
            END IF;
        END IF;
        IF NOT is_map AND left_ >= 0 THEN
            IF wanted < 0 THEN wanted := wanted + left_; END IF;
            IF wanted NOT BETWEEN 0 AND left_ - 1 THEN RETURN NULL; END IF;
        END IF;
    END IF;
    found := false;
    is_value := false;
    places := NULL;
    LOOP
        pending := 1;
        IF is_map AND NOT is_value THEN
            -- Most keys are short texts, and most values short: these are compared and passed as fast as can be.
            LOOP
                IF substring(v FROM p + 1 FOR d) = needle THEN
                    p := p + d;
                    found := left_ <> 0;
                    EXIT;
                END IF;
                c := get_byte(sizes, get_byte(v, p));
                EXIT WHEN c = 0 OR needle IS NULL;
                w := get_byte(sizes, get_byte(v, p + c));
                EXIT WHEN w = 0 OR left_ = 0;
                p := p + c + w;
                left_ := left_ - 1;
            END LOOP;
            EXIT WHEN found;
            IF left_ = 0 OR p >= size OR left_ < 0 AND get_byte(v, p) = 255 THEN RETURN NULL; END IF;
            start := p;
            IF wanted IS NULL THEN
                IF get_byte(sizes, get_byte(v, p)) = 0 THEN
                    {TEXT_RAW}
                    found := raw IS NOT DISTINCT FROM key;
                END IF;
            ELSE
                {INTEGER}
                found := n IS NOT DISTINCT FROM wanted;
            END IF;
            p := start;
        ELSIF NOT is_map THEN
            IF left_ >= 0 THEN
                pending := wanted;
            ELSIF p >= size THEN
                RETURN NULL;
            ELSIF get_byte(v, p) = 255 THEN
                p := places[cardinality(places) + 1 + wanted];
                IF p IS NULL OR wanted >= 0 THEN RETURN NULL; END IF;
                EXIT;
            ELSIF wanted < 0 THEN
                places := places || p;
            ELSE
                EXIT WHEN wanted = 0;
                wanted := wanted - 1;
            END IF;
        END IF;
        {SKIP}
        IF is_map THEN
            EXIT WHEN found;
            IF is_value THEN left_ := left_ - 1; END IF;
            is_value := NOT is_value;
        ELSE
            EXIT WHEN left_ >= 0;
        END IF;
    END LOOP;
END LOOP;
IF tag = 8 THEN
    WHILE substring(v FROM p + 1 FOR 3) = '\\xd9d9f7' LOOP p := p + 3; END LOOP;
END IF;
IF p >= size THEN RETURN NULL; END IF;
"""
