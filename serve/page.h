// The page at "/": serve/page.html, which is a part of the program.
#ifndef SERVE_PAGE_H
#define SERVE_PAGE_H

extern const char page_begin[], page_end[];

#endif
