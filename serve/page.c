#include "serve/page.h"

// The build tells where the file lies.
__asm__(".section .rodata\n"
        ".global page_begin, page_end\n"
        "page_begin:\n"
        ".incbin \"" SERVE_PAGE "\"\n"
        "page_end:\n"
        ".byte 0\n"
        ".previous\n");
