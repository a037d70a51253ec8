class e{static fromConfig(){throw new Error("Zarr stores are not read here")}}export{e as default};
