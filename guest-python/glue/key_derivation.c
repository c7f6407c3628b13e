/* `_ppwasm_key_derivation`: the parts of PBKDF2 and scrypt that are too much work for Python.
 *
 * CPython takes both from OpenSSL and has nothing in their place without it. `overlay/_key_derivation.py` is what
 * programs call: it checks the arguments and handles the digests that are not here.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <string.h>

enum { BLOCK_BYTES_MAX = 128, DIGEST_BYTES_MAX = 64, COUNTER_BYTES = 4 };

typedef union {
    uint32_t words[8];
    uint64_t long_words[8];
} State;

/* A digest of the SHA-1 and SHA-2 families (FIPS 180-4). */
typedef struct {
    const char *name;
    size_t block_bytes;
    size_t digest_bytes;
    size_t word_bytes;
    void (*compress)(State *state, const unsigned char *block);
    State first;
} Digest;

static uint32_t load32(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint64_t load64(const unsigned char *at)
{
    return (uint64_t)load32(at) << 32 | load32(at + 4);
}

static void store32(unsigned char *at, uint32_t word)
{
    at[0] = (unsigned char)(word >> 24);
    at[1] = (unsigned char)(word >> 16);
    at[2] = (unsigned char)(word >> 8);
    at[3] = (unsigned char)word;
}

static uint32_t left32(uint32_t word, int by) { return word << by | word >> (32 - by); }
static uint32_t right32(uint32_t word, int by) { return word >> by | word << (32 - by); }
static uint64_t right64(uint64_t word, int by) { return word >> by | word << (64 - by); }

static void sha1_compress(State *state, const unsigned char *block)
{
    uint32_t w[80];
    for (int t = 0; t < 16; t++) {
        w[t] = load32(block + 4 * t);
    }
    for (int t = 16; t < 80; t++) {
        w[t] = left32(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    }
    uint32_t a = state->words[0], b = state->words[1], c = state->words[2], d = state->words[3], e = state->words[4];
    for (int t = 0; t < 80; t++) {
        uint32_t mixed;
        if (t < 20) {
            mixed = ((b & c) | (~b & d)) + 0x5A827999;
        } else if (t < 40) {
            mixed = (b ^ c ^ d) + 0x6ED9EBA1;
        } else if (t < 60) {
            mixed = ((b & c) | (b & d) | (c & d)) + 0x8F1BBCDC;
        } else {
            mixed = (b ^ c ^ d) + 0xCA62C1D6;
        }
        uint32_t next = left32(a, 5) + mixed + e + w[t];
        e = d;
        d = c;
        c = left32(b, 30);
        b = a;
        a = next;
    }
    state->words[0] += a;
    state->words[1] += b;
    state->words[2] += c;
    state->words[3] += d;
    state->words[4] += e;
}

/* SHA-256 uses the upper halves of the first 64. */
static const uint64_t round_constants[80] = {
    0x428A2F98D728AE22, 0x7137449123EF65CD, 0xB5C0FBCFEC4D3B2F, 0xE9B5DBA58189DBBC,
    0x3956C25BF348B538, 0x59F111F1B605D019, 0x923F82A4AF194F9B, 0xAB1C5ED5DA6D8118,
    0xD807AA98A3030242, 0x12835B0145706FBE, 0x243185BE4EE4B28C, 0x550C7DC3D5FFB4E2,
    0x72BE5D74F27B896F, 0x80DEB1FE3B1696B1, 0x9BDC06A725C71235, 0xC19BF174CF692694,
    0xE49B69C19EF14AD2, 0xEFBE4786384F25E3, 0x0FC19DC68B8CD5B5, 0x240CA1CC77AC9C65,
    0x2DE92C6F592B0275, 0x4A7484AA6EA6E483, 0x5CB0A9DCBD41FBD4, 0x76F988DA831153B5,
    0x983E5152EE66DFAB, 0xA831C66D2DB43210, 0xB00327C898FB213F, 0xBF597FC7BEEF0EE4,
    0xC6E00BF33DA88FC2, 0xD5A79147930AA725, 0x06CA6351E003826F, 0x142929670A0E6E70,
    0x27B70A8546D22FFC, 0x2E1B21385C26C926, 0x4D2C6DFC5AC42AED, 0x53380D139D95B3DF,
    0x650A73548BAF63DE, 0x766A0ABB3C77B2A8, 0x81C2C92E47EDAEE6, 0x92722C851482353B,
    0xA2BFE8A14CF10364, 0xA81A664BBC423001, 0xC24B8B70D0F89791, 0xC76C51A30654BE30,
    0xD192E819D6EF5218, 0xD69906245565A910, 0xF40E35855771202A, 0x106AA07032BBD1B8,
    0x19A4C116B8D2D0C8, 0x1E376C085141AB53, 0x2748774CDF8EEB99, 0x34B0BCB5E19B48A8,
    0x391C0CB3C5C95A63, 0x4ED8AA4AE3418ACB, 0x5B9CCA4F7763E373, 0x682E6FF3D6B2B8A3,
    0x748F82EE5DEFB2FC, 0x78A5636F43172F60, 0x84C87814A1F0AB72, 0x8CC702081A6439EC,
    0x90BEFFFA23631E28, 0xA4506CEBDE82BDE9, 0xBEF9A3F7B2C67915, 0xC67178F2E372532B,
    0xCA273ECEEA26619C, 0xD186B8C721C0C207, 0xEADA7DD6CDE0EB1E, 0xF57D4F7FEE6ED178,
    0x06F067AA72176FBA, 0x0A637DC5A2C898A6, 0x113F9804BEF90DAE, 0x1B710B35131C471B,
    0x28DB77F523047D84, 0x32CAAB7B40C72493, 0x3C9EBE0A15C9BEBC, 0x431D67C49C100D4C,
    0x4CC5D4BECB3E42B6, 0x597F299CFC657E2A, 0x5FCB6FAB3AD6FAEC, 0x6C44198C4A475817,
};

static void sha256_compress(State *state, const unsigned char *block)
{
    uint32_t w[64], v[8];
    for (int t = 0; t < 16; t++) {
        w[t] = load32(block + 4 * t);
    }
    for (int t = 16; t < 64; t++) {
        uint32_t s0 = right32(w[t - 15], 7) ^ right32(w[t - 15], 18) ^ w[t - 15] >> 3;
        uint32_t s1 = right32(w[t - 2], 17) ^ right32(w[t - 2], 19) ^ w[t - 2] >> 10;
        w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
    memcpy(v, state->words, sizeof v);
    for (int t = 0; t < 64; t++) {
        uint32_t s1 = right32(v[4], 6) ^ right32(v[4], 11) ^ right32(v[4], 25);
        uint32_t chosen = (v[4] & v[5]) ^ (~v[4] & v[6]);
        uint32_t one = v[7] + s1 + chosen + (uint32_t)(round_constants[t] >> 32) + w[t];
        uint32_t s0 = right32(v[0], 2) ^ right32(v[0], 13) ^ right32(v[0], 22);
        uint32_t two = s0 + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof v[0]);
        v[4] += one;
        v[0] = one + two;
    }
    for (int i = 0; i < 8; i++) {
        state->words[i] += v[i];
    }
}

static void sha512_compress(State *state, const unsigned char *block)
{
    uint64_t w[80], v[8];
    for (int t = 0; t < 16; t++) {
        w[t] = load64(block + 8 * t);
    }
    for (int t = 16; t < 80; t++) {
        uint64_t s0 = right64(w[t - 15], 1) ^ right64(w[t - 15], 8) ^ w[t - 15] >> 7;
        uint64_t s1 = right64(w[t - 2], 19) ^ right64(w[t - 2], 61) ^ w[t - 2] >> 6;
        w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
    memcpy(v, state->long_words, sizeof v);
    for (int t = 0; t < 80; t++) {
        uint64_t s1 = right64(v[4], 14) ^ right64(v[4], 18) ^ right64(v[4], 41);
        uint64_t chosen = (v[4] & v[5]) ^ (~v[4] & v[6]);
        uint64_t one = v[7] + s1 + chosen + round_constants[t] + w[t];
        uint64_t s0 = right64(v[0], 28) ^ right64(v[0], 34) ^ right64(v[0], 39);
        uint64_t two = s0 + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof v[0]);
        v[4] += one;
        v[0] = one + two;
    }
    for (int i = 0; i < 8; i++) {
        state->long_words[i] += v[i];
    }
}

static const Digest digests[] = {
    {"sha1", 64, 20, 4, sha1_compress,
     {.words = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476,
                  0xC3D2E1F0}}},
    {"sha224", 64, 28, 4, sha256_compress,
     {.words = {0xC1059ED8, 0x367CD507, 0x3070DD17, 0xF70E5939,
                  0xFFC00B31, 0x68581511, 0x64F98FA7, 0xBEFA4FA4}}},
    {"sha256", 64, 32, 4, sha256_compress,
     {.words = {0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
                  0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19}}},
    {"sha384", 128, 48, 8, sha512_compress,
     {.long_words = {0xCBBB9D5DC1059ED8, 0x629A292A367CD507, 0x9159015A3070DD17, 0x152FECD8F70E5939,
                       0x67332667FFC00B31, 0x8EB44A8768581511, 0xDB0C2E0D64F98FA7, 0x47B5481DBEFA4FA4}}},
    {"sha512", 128, 64, 8, sha512_compress,
     {.long_words = {0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
                       0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179}}},
};

/* Digests `data` in the state that `before` bytes, whole blocks, have led to. */
static void finish(const Digest *digest, State state, size_t before, const unsigned char *data, size_t len, unsigned char *out)
{
    uint64_t bits = ((uint64_t)before + len) * 8;
    while (len >= digest->block_bytes) {
        digest->compress(&state, data);
        data += digest->block_bytes;
        len -= digest->block_bytes;
    }
    unsigned char last[2 * BLOCK_BYTES_MAX] = {0};
    memcpy(last, data, len);
    last[len] = 0x80;
    /* The length takes two words; more than its lower eight bytes is never needed. */
    size_t end = len + 1 + 2 * digest->word_bytes <= digest->block_bytes ? digest->block_bytes : 2 * digest->block_bytes;
    store32(last + end - 8, (uint32_t)(bits >> 32));
    store32(last + end - 4, (uint32_t)bits);
    for (size_t at = 0; at < end; at += digest->block_bytes) {
        digest->compress(&state, last + at);
    }
    for (size_t at = 0; at < digest->digest_bytes; at += 4) {
        uint32_t word = state.words[at / 4];
        if (digest->word_bytes == 8) {
            word = (uint32_t)(state.long_words[at / 8] >> (at % 8 == 0 ? 32 : 0));
        }
        store32(out + at, word);
    }
}

/* The two states of HMAC (RFC 2104) that the key alone decides. */
static void key_states(const Digest *digest, const unsigned char *key, size_t len, State *inner, State *outer)
{
    unsigned char block[BLOCK_BYTES_MAX] = {0};
    if (len > digest->block_bytes) {
        finish(digest, digest->first, 0, key, len, block);
    } else {
        memcpy(block, key, len);
    }
    for (size_t i = 0; i < digest->block_bytes; i++) {
        block[i] ^= 0x36;
    }
    *inner = digest->first;
    digest->compress(inner, block);
    for (size_t i = 0; i < digest->block_bytes; i++) {
        block[i] ^= 0x36 ^ 0x5C;
    }
    *outer = digest->first;
    digest->compress(outer, block);
}

static const Digest *digest_named(const char *name)
{
    for (size_t i = 0; i < sizeof digests / sizeof digests[0]; i++) {
        if (strcmp(digests[i].name, name) == 0) {
            return &digests[i];
        }
    }
    return NULL;
}

PyDoc_STRVAR(pbkdf2_doc, "pbkdf2(digest name, password, salt, iterations, length) -> bytes, or None for another digest\n\n"
                         "RFC 8018, section 5.2, with HMAC. Every argument was checked.");

static PyObject *pbkdf2(PyObject *module, PyObject *args)
{
    (void)module;
    const char *name;
    Py_buffer password, salt;
    unsigned long iterations;
    Py_ssize_t length;
    if (!PyArg_ParseTuple(args, "sy*y*kn", &name, &password, &salt, &iterations, &length)) {
        return NULL;
    }
    const Digest *digest = digest_named(name);
    PyObject *key = NULL;
    /* The salt and the number of a part of the key. */
    unsigned char *seed = NULL;
    if (digest == NULL) {
        key = Py_NewRef(Py_None);
        goto done;
    }
    seed = PyMem_Malloc((size_t)salt.len + COUNTER_BYTES);
    key = seed != NULL ? PyBytes_FromStringAndSize(NULL, length) : PyErr_NoMemory();
    if (key == NULL) {
        goto done;
    }
    memcpy(seed, salt.buf, (size_t)salt.len);
    State inner, outer;
    key_states(digest, password.buf, (size_t)password.len, &inner, &outer);
    unsigned char *out = (unsigned char *)PyBytes_AS_STRING(key);
    size_t left = (size_t)length;
    for (uint32_t part = 1; left > 0; part++) {
        unsigned char last[DIGEST_BYTES_MAX], sum[DIGEST_BYTES_MAX];
        store32(seed + salt.len, part);
        finish(digest, inner, digest->block_bytes, seed, (size_t)salt.len + COUNTER_BYTES, last);
        finish(digest, outer, digest->block_bytes, last, digest->digest_bytes, last);
        memcpy(sum, last, digest->digest_bytes);
        for (unsigned long i = 1; i < iterations; i++) {
            finish(digest, inner, digest->block_bytes, last, digest->digest_bytes, last);
            finish(digest, outer, digest->block_bytes, last, digest->digest_bytes, last);
            for (size_t at = 0; at < digest->digest_bytes; at++) {
                sum[at] ^= last[at];
            }
        }
        size_t taken = left < digest->digest_bytes ? left : digest->digest_bytes;
        memcpy(out, sum, taken);
        out += taken;
        left -= taken;
    }
done:
    PyMem_Free(seed);
    PyBuffer_Release(&password);
    PyBuffer_Release(&salt);
    return key;
}

/* scrypt's mixing: RFC 7914, sections 3 to 5. Words are little-endian, as WebAssembly's memory is. */

enum { SALSA_WORDS = 16 };

static void salsa20_8(uint32_t words[SALSA_WORDS])
{
    uint32_t x[SALSA_WORDS];
    memcpy(x, words, sizeof x);
#define QUARTER(a, b, c, d)       \
    x[b] ^= left32(x[a] + x[d], 7);  \
    x[c] ^= left32(x[b] + x[a], 9);  \
    x[d] ^= left32(x[c] + x[b], 13); \
    x[a] ^= left32(x[d] + x[c], 18);
    for (int i = 0; i < 4; i++) {
        QUARTER(0, 4, 8, 12)
        QUARTER(5, 9, 13, 1)
        QUARTER(10, 14, 2, 6)
        QUARTER(15, 3, 7, 11)
        QUARTER(0, 1, 2, 3)
        QUARTER(5, 6, 7, 4)
        QUARTER(10, 11, 8, 9)
        QUARTER(15, 12, 13, 14)
    }
#undef QUARTER
    for (int i = 0; i < SALSA_WORDS; i++) {
        words[i] += x[i];
    }
}

/* From `in`, 2r blocks of 16 words, to `out`, even blocks first. */
static void mix_blocks(const uint32_t *in, uint32_t *out, size_t r)
{
    uint32_t x[SALSA_WORDS];
    memcpy(x, in + (2 * r - 1) * SALSA_WORDS, sizeof x);
    for (size_t i = 0; i < 2 * r; i++) {
        for (int word = 0; word < SALSA_WORDS; word++) {
            x[word] ^= in[i * SALSA_WORDS + (size_t)word];
        }
        salsa20_8(x);
        memcpy(out + (i / 2 + (i % 2) * r) * SALSA_WORDS, x, sizeof x);
    }
}

/* Mixes 32r words in place; `table` has room for n times as many, `other` for as many. */
static void mix(uint32_t *words, uint32_t *table, uint32_t *other, size_t n, size_t r)
{
    size_t count = 2 * r * SALSA_WORDS;
    for (size_t i = 0; i < n; i++) {
        memcpy(table + i * count, words, count * sizeof *words);
        mix_blocks(words, other, r);
        memcpy(words, other, count * sizeof *words);
    }
    for (size_t i = 0; i < n; i++) {
        const uint32_t *row = table + (words[(2 * r - 1) * SALSA_WORDS] & (n - 1)) * count;
        for (size_t word = 0; word < count; word++) {
            words[word] ^= row[word];
        }
        mix_blocks(words, other, r);
        memcpy(words, other, count * sizeof *words);
    }
}

PyDoc_STRVAR(scrypt_mix_doc, "scrypt_mix(blocks, n, r) -> bytes\n\n"
                             "Mixes each run of 128r bytes. n is a power of two, and 128nr fits the memory's size.");

static PyObject *scrypt_mix(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer blocks;
    Py_ssize_t n, r;
    if (!PyArg_ParseTuple(args, "y*nn", &blocks, &n, &r)) {
        return NULL;
    }
    PyObject *mixed = NULL;
    size_t run_bytes = (size_t)r * 2 * SALSA_WORDS * sizeof(uint32_t);
    /* The table's rows, and one row each for what is mixed and for what comes of it. */
    uint32_t *rows = PyMem_Malloc(((size_t)n + 2) * run_bytes);
    if (rows == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    mixed = PyBytes_FromStringAndSize(blocks.buf, blocks.len);
    if (mixed != NULL) {
        uint32_t *words = rows + (size_t)n * run_bytes / sizeof *rows;
        uint32_t *other = words + run_bytes / sizeof *rows;
        unsigned char *at = (unsigned char *)PyBytes_AS_STRING(mixed);
        for (Py_ssize_t done = 0; done < blocks.len; done += (Py_ssize_t)run_bytes) {
            memcpy(words, at + done, run_bytes);
            mix(words, rows, other, (size_t)n, (size_t)r);
            memcpy(at + done, words, run_bytes);
        }
    }
done:
    PyMem_Free(rows);
    PyBuffer_Release(&blocks);
    return mixed;
}

static PyMethodDef methods[] = {
    {"pbkdf2", pbkdf2, METH_VARARGS, pbkdf2_doc},
    {"scrypt_mix", scrypt_mix, METH_VARARGS, scrypt_mix_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_ppwasm_key_derivation", NULL, 0, methods, NULL, NULL, NULL, NULL,
};

PyObject *PyInit__ppwasm_key_derivation(void);

PyObject *PyInit__ppwasm_key_derivation(void)
{
    return PyModule_Create(&definition);
}
