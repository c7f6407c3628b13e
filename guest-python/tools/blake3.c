/* Prints the BLAKE3 digest of each file named, one per line, in hexadecimal. */
#include <stdio.h>

#include "blake3.h"

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        if (file == NULL) {
            perror(argv[i]);
            return 1;
        }
        blake3_hasher hasher;
        blake3_hasher_init(&hasher);
        static unsigned char part[1 << 16];
        size_t len;
        while ((len = fread(part, 1, sizeof part, file)) > 0) {
            blake3_hasher_update(&hasher, part, len);
        }
        if (ferror(file)) {
            perror(argv[i]);
            return 1;
        }
        fclose(file);
        unsigned char digest[BLAKE3_OUT_LEN];
        blake3_hasher_finalize(&hasher, digest, sizeof digest);
        for (size_t at = 0; at < sizeof digest; at++) {
            printf("%02x", digest[at]);
        }
        putchar('\n');
    }
    return 0;
}
