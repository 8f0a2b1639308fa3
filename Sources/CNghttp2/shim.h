#pragma once
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <nghttp2/nghttp2.h>
