"""Packed values as ``jsonb`` that is equal where they are, in PL/pgSQL: what ``kv_contains`` compares.

It is no JSON of the value, for types that JSON lacks must stay apart:

========================== =======================================================================
value                      ``jsonb``
========================== =======================================================================
None, bool                 ``null``, ``true``, ``false``
int; float that is whole   number
other float                ``"f"`` and its bits in hexadecimal, ``"fnan"``
str                        ``"s"`` and the text; ``"n"`` and its bytes where that is no text of PostgreSQL
bytes                      ``"b"`` and hexadecimal
list, tuple, set           array
dict                       object; keys that are no str or bytes are ``"v"`` and what they are, or ``"c"`` and bytes
other types                ``"x"``, the extension type and ``:``, or ``"g"``, and the bytes
========================== =======================================================================
"""

from __future__ import annotations

from .packed_plpgsql import (
    BITS_TO_REAL,
    FIND,
    HEAD,
    INTEGER,
    JSON_TEXT,
    LITTLE_ENDIAN,
    REAL,
    SKIP,
    TEXT_RAW,
    TEXT_VALID,
)

__all__ = ["BUILD", "DECLARE_BUILD"]

DECLARE_BUILD = """
    out_ text := '';
    piece text;
    depth int := 0;
    lefts bigint[];
    maps boolean[];
    is_key boolean;
    number_ numeric;
"""

_REAL_PIECE = """
piece := CASE
    WHEN x IS NULL THEN '"fnan"'
    WHEN x = trunc(x) AND x >= -9223372036854775808 AND x < 9223372036854775808 THEN x::bigint::text
    ELSE '"f' || encode(float8send(x), 'hex') || '"' END;
"""

_TEXT_PIECE = f"""
{TEXT_VALID}
piece := coalesce(to_json('s' || t)::text, '"n' || encode(raw, 'hex') || '"');
"""

# raw, two's complement in little-endian, as a number.
_BIG_PIECE = """
IF length(raw) NOT BETWEEN 1 AND 16 THEN
    piece := '"x2:' || encode(raw, 'hex') || '"';
ELSE
    number_ := -(get_byte(raw, length(raw) - 1) >> 7);
    FOR i IN REVERSE length(raw) - 1 .. 0 LOOP number_ := number_ * 256 + get_byte(raw, i); END LOOP;
    piece := number_::text;
END IF;
"""

# What stands at p and is no container. Of some types raw is a part of what is passed.
_SCALAR = f"""
start := p;
b := get_byte(v, p);
IF b = (CASE tag WHEN 7 THEN 192 ELSE 246 END) THEN
    piece := 'null';
ELSIF b IN (CASE tag WHEN 7 THEN 194 ELSE 244 END, CASE tag WHEN 7 THEN 195 ELSE 245 END) THEN
    piece := CASE WHEN b IN (194, 244) THEN 'false' ELSE 'true' END;
ELSIF b IN (202, 203) AND tag = 7 OR b BETWEEN 249 AND 251 AND tag = 8 THEN
    {REAL}
    {_REAL_PIECE}
ELSE
    {INTEGER}
    IF n IS NOT NULL THEN
        piece := n::text;
    ELSE
        {TEXT_RAW}
        p := start;
        IF raw IS NOT NULL THEN
            {_TEXT_PIECE}
        END IF;
    END IF;
END IF;
pending := 1;
{SKIP}
IF piece IS NULL THEN
    b := get_byte(v, start);
    IF tag = 7 AND b BETWEEN 196 AND 198 THEN
        raw := substring(v FROM start + 2 + (1 << b - 196) FOR p - start - 1 - (1 << b - 196));
        piece := '"b' || encode(raw, 'hex') || '"';
    ELSIF tag = 7 AND b = 207 OR tag = 8 AND b IN (27, 59) THEN
        raw := substring(v FROM start + 2 FOR 8);
        number_ := 0;
        FOR i IN 0 .. 7 LOOP number_ := number_ * 256 + get_byte(raw, i); END LOOP;
        piece := (CASE b WHEN 59 THEN -1 - number_ ELSE number_ END)::text;
    ELSIF tag = 7 AND (b BETWEEN 199 AND 201 OR b BETWEEN 212 AND 216) THEN
        start := start + 1 + CASE b WHEN 199 THEN 1 WHEN 200 THEN 2 WHEN 201 THEN 4 ELSE 0 END;
        raw := substring(v FROM start + 2 FOR p - start - 1);
        IF get_byte(v, start) = 2 THEN
            {_BIG_PIECE}
        ELSE
            piece := '"x' || get_byte(v, start) || ':' || encode(raw, 'hex') || '"';
        END IF;
    ELSIF tag = 8 AND b BETWEEN 64 AND 91 THEN
        w := CASE b & 31 WHEN 24 THEN 1 WHEN 25 THEN 2 WHEN 26 THEN 4 WHEN 27 THEN 8 ELSE 0 END;
        piece := '"b' || encode(substring(v FROM start + 2 + w FOR p - start - 1 - w), 'hex') || '"';
    ELSIF tag = 8 THEN
        piece := '"g' || encode(substring(v FROM start + 1 FOR p - start), 'hex') || '"';
    ELSE
        RETURN NULL;
    END IF;
END IF;
"""

_BINARY = f"""
{FIND}
LOOP
    IF tag = 8 THEN
        WHILE substring(v FROM p + 1 FOR 3) IN ('\\xd9d9f7', '\\xd90102') LOOP p := p + 3; END LOOP;
    END IF;
    IF p >= size THEN RETURN NULL; END IF;
    is_key := depth > 0 AND maps[depth] AND mod(lefts[depth], 2) = 0;
    piece := NULL;
    b := get_byte(v, p);
    IF b BETWEEN (CASE tag WHEN 7 THEN 160 ELSE 96 END) AND (CASE tag WHEN 7 THEN 191 ELSE 119 END) THEN
        -- A short text, as most keys and many values are.
        c := get_byte(sizes, b);
        raw := substring(v FROM p + 2 FOR c - 1);
        p := p + c;
        IF p > size THEN RETURN NULL; END IF;
        {_TEXT_PIECE}
    ELSE
        {HEAD}
    END IF;
    IF piece IS NOT NULL THEN
        NULL;
    ELSIF left_ IS NULL THEN
        {_SCALAR}
    ELSIF is_key THEN
        start := p;
        pending := 1;
        {SKIP}
        piece := '"c' || encode(substring(v FROM start + 1 FOR p - start), 'hex') || '"';
    ELSE
        p := p + 1 + w;
        IF left_ > size - p THEN RETURN NULL; END IF;
        IF tag = 7 AND NOT is_map AND left_ > 0 AND get_byte(v, p) = 199 AND get_byte(v, p + 1) = 0
            AND get_byte(v, p + 2) IN (1, 5, 6)
        THEN
            p := p + 3;
            left_ := left_ - 1;
        END IF;
        IF left_ = 0 OR left_ < 0 AND get_byte(v, p) = 255 THEN
            IF left_ < 0 THEN p := p + 1; END IF;
            piece := CASE WHEN is_map THEN '{{}}' ELSE '[]' END;
        ELSE
            IF depth >= 512 THEN RETURN NULL; END IF;
            depth := depth + 1;
            maps[depth] := is_map;
            lefts[depth] := CASE WHEN left_ < 0 THEN -2 WHEN is_map THEN 2 * left_ ELSE left_ END;
            out_ := out_ || CASE WHEN is_map THEN '{{' ELSE '[' END;
            CONTINUE;
        END IF;
    END IF;
    IF is_key AND left(piece, 1) <> '"' THEN piece := '"v' || piece || '"'; END IF;
    out_ := out_ || piece;
    LOOP
        IF depth = 0 THEN RETURN out_::jsonb; END IF;
        n := lefts[depth] - 1;
        lefts[depth] := n;
        is_map := maps[depth];
        IF n < 0 AND (mod(n, 2) = 0 OR NOT is_map) AND get_byte(v, p) = 255 THEN
            p := p + 1;
        ELSIF n <> 0 THEN
            out_ := out_ || CASE WHEN is_map AND mod(n, 2) <> 0 THEN ':' ELSE ',' END;
            EXIT;
        END IF;
        out_ := out_ || CASE WHEN is_map THEN '}}' ELSE ']' END;
        depth := depth - 1;
    END LOOP;
END LOOP;
"""

_IN_JSON = f"""
{JSON_TEXT}
SELECT string_agg(
    CASE
        WHEN left(token[1], 1) = '"' THEN '"s' || substr(token[1], 2)
        WHEN token[1] !~ '^-?[0-9].*[.eE]' THEN token[1]
        WHEN length(token[1]) > 999 OR token[1] ~ '[eE][+-]?0*[1-9][0-9]{{3}}' THEN '"j' || token[1] || '"'
        WHEN abs(token[1]::numeric) >= 1.7976931348623158e308 THEN '"j' || token[1] || '"'
        WHEN abs(token[1]::numeric) < 2.4703282292062328e-324 THEN '0'
        WHEN abs(token[1]::double precision) < 9223372036854775808
            AND trunc(token[1]::double precision) = token[1]::double precision
        THEN token[1]::double precision::bigint::text
        ELSE '"f' || encode(float8send(token[1]::double precision), 'hex') || '"'
    END,
    '' ORDER BY place
) INTO t FROM regexp_matches(
    j::text,
    '"(?:[^"\\\\]|\\\\.)*"|-?[0-9]+(?:\\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null|[]\\[{{}}:,]',
    'g'
) WITH ORDINALITY AS tokens(token, place);
RETURN t::jsonb;
"""  # noqa: S608 (pieces of this package)

_PLAIN = f"""
raw := substring(v FROM 2 FOR size - 1);
CASE
WHEN tag = 0 THEN
    piece := '"b' || encode(raw, 'hex') || '"';
WHEN tag = 1 THEN
    {_TEXT_PIECE}
WHEN tag IN (2, 3, 4) AND size = 1 THEN
    piece := CASE tag WHEN 2 THEN 'null' WHEN 3 THEN 'false' ELSE 'true' END;
WHEN tag = 5 AND size > 1 THEN
    {_BIG_PIECE}
WHEN tag = 6 AND size = 9 THEN
    {LITTLE_ENDIAN}
    {BITS_TO_REAL}
    {_REAL_PIECE}
WHEN tag IN (10, 11, 12, 13) THEN
    piece := '"x' || CASE tag WHEN 10 THEN '3' WHEN 11 THEN '18' WHEN 12 THEN '4' ELSE 'd' END
        || ':' || encode(raw, 'hex') || '"';
ELSE
    RETURN NULL;
END CASE;
RETURN piece::jsonb;
"""

BUILD = f"""
IF tag IN (7, 8) THEN
    {_BINARY}
ELSIF tag = 9 THEN
    {_IN_JSON}
ELSIF path = '[]' THEN
    {_PLAIN}
END IF;
RETURN NULL;
"""
