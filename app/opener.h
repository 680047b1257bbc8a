// What the server and the C library open alike, as the options say.
#ifndef APP_OPENER_H
#define APP_OPENER_H

#include "app/options.h"
#include "serve/keeper.h"

// Data folder and model. The options must stay while the opener is used, and the models it opened.
Opener opener_of(const Options *o);
EngineOptions opener_engine(const Options *o);

#endif
