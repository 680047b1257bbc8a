// latentr3 serve: recommendations over HTTP.
#include "app/commands.h"
#include "app/interrupt.h"
#include "app/opener.h"
#include "serve/serve.h"

#include <stdio.h>

static void print_address(const char *url) {
    printf("%s\n", url);
    fflush(stdout);
}

int cmd_serve(const Options *o, Err *err) {
    const Opener opener = opener_of(o);
    const ServeOptions options = {.host = o->host,
                                  .port = o->port,
                                  .key_file = o->api_key_file,
                                  .engine = opener_engine(o),
                                  .beams = o->beams,
                                  .queue = o->queue,
                                  .ready = print_address};
    return serve_run(&options, &opener, interrupt_watch(), err);
}
