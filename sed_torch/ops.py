"""Two tables: how an operator may be spelled → its canonical name → the rule that the calculus applies.

``nn.ReLU``, ``F.relu``, ``torch.relu``, ``x.relu_()`` and ``aten.relu`` are one row. An operator without effect
on local entropy is a row with the rule ``keep``, not an entry of a second set. What is not in the table is
*unknown*: it shows in the coverage of every result, and ``strict=True`` makes it an error.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sed_torch.errors import RuleError

__all__ = ["OPS", "Op", "Registry", "RuleName", "canonical", "lookup", "table"]

RuleName = Literal[
    "keep",  # Γ
    "gate",  # Γ, and the result marks a factor between 0 and 1 (sigmoid, softmax)
    "norm",  # Γ/Γ(0)
    "conv",
    "conv_transpose",
    "linear",
    "pool",
    "adaptive_pool",
    "reduce",  # mean, max, … over dimensions: what is averaged over positions is constant
    "add",
    "mul",
    "cat",
    "stack",
    "reshape",
    "permute",
    "slice",
    "expand",
    "pad",
    "interpolate",
    "pixel_shuffle",
    "pixel_unshuffle",
    "unfold",
    "matmul",
    "attention",
    "multi_head_attention",
    "recurrent",
    "embedding",
    "write",  # x[i] = y
    "zero",  # a constant that no longer depends on its input
    "item",  # one of several results
    "opaque",
]

_TEXT: dict[str, str] = {
    # rule: canonical names, each followed by further spellings after "="; separated by blanks
    "keep": """
        relu relu6 leaky_relu elu selu celu gelu silu mish hardswish hardtanh tanh softplus softsign tanhshrink
        softshrink hardshrink logsigmoid=log_sigmoid prelu=_prelu_kernel rrelu=rrelu_with_noise threshold glu
        dropout=native_dropout,feature_dropout,dropout1d,dropout2d,dropout3d,alpha_dropout,feature_alpha_dropout
        clamp=clip,clamp_min,clamp_max abs=absolute neg=negative,__neg__ exp expm1 exp2 log=log2,log10,log1p sqrt
        rsqrt square pow=__pow__,__rpow__,float_power sin cos tan asin acos atan sinh cosh asinh acosh atanh=arctanh
        sign=sgn round floor ceil trunc=fix frac erf erfc erfinv reciprocal logit deg2rad rad2deg
        masked_fill where cumsum cumprod logcumsumexp sort=argsort,msort topk to=_to_copy type type_as
        float half bfloat16 double int=byte,char,short long bool cpu cuda contiguous clone=lift_fresh_copy,lift_fresh,lift
        detach=alias,data,_local_scalar_dense,positive,__pos__ requires_grad nan_to_num triu tril flip=fliplr,flipud,rot90
        roll uniform=normal,bernoulli,exponential fft=fft_fft,fft_fft2,fft_fftn,fft_rfft,fft_rfft2,fft_rfftn
        ifft=fft_ifft,fft_ifft2,fft_ifftn,fft_irfft,fft_irfft2,fft_irfftn,fft_hfft fftshift=fft_fftshift,fft_ifftshift
        real imag conj=_conj,conj_physical,resolve_conj,resolve_neg complex polar angle view_as_real view_as_complex
        channel_shuffle=native_channel_shuffle gumbel_softmax
        fake_quantize_per_tensor_affine=fake_quantize_per_channel_affine,fused_moving_avg_obs_fake_quant
        quantize_per_tensor dequantize eq=ne,lt,le,gt,ge,__eq__,__ne__,__lt__,__le__,__gt__,__ge__,isnan,isinf,isfinite
        logical_not=bitwise_not,__invert__ bucketize=searchsorted one_hot renorm cross diff
        grid_sampler=grid_sample _assert_tensor_metadata
        remainder=fmod,__mod__,floor_divide,__floordiv__ stft istft histc to_sparse to_dense=to_dense as_subclass refine_names=rename
        pin_memory share_memory retain_grad
    """,
    "gate": """
        sigmoid hardsigmoid softmax=_softmax,_safe_softmax log_softmax=_log_softmax softmin
    """,
    "norm": """
        batch_norm=_native_batch_norm_legit,_native_batch_norm_legit_no_training,native_batch_norm,_batch_norm_with_update,_batch_norm_no_update,cudnn_batch_norm,_batch_norm_impl_index
        layer_norm=native_layer_norm group_norm=native_group_norm instance_norm rms_norm=_fused_rms_norm
        normalize local_response_norm weight_norm=_weight_norm,_weight_norm_interface
    """,
    "conv": """
        conv=conv1d,conv2d,conv3d,convolution,_convolution,thnn_conv2d,mkldnn_convolution,cudnn_convolution
        deform_conv=deform_conv2d
    """,
    "conv_transpose": "conv_transpose=conv_transpose1d,conv_transpose2d,conv_transpose3d",
    "linear": "linear=mkldnn_linear bilinear",
    "pool": """
        max_pool=max_pool1d,max_pool2d,max_pool3d,max_pool1d_with_indices,max_pool2d_with_indices,max_pool3d_with_indices
        avg_pool=avg_pool1d,avg_pool2d,avg_pool3d
        lp_pool=lp_pool1d,lp_pool2d,lp_pool3d
    """,
    "adaptive_pool": """
        adaptive_avg_pool=adaptive_avg_pool1d,adaptive_avg_pool2d,adaptive_avg_pool3d,_adaptive_avg_pool2d,_adaptive_avg_pool3d
        adaptive_max_pool=adaptive_max_pool1d,adaptive_max_pool2d,adaptive_max_pool3d,adaptive_max_pool1d_with_indices,adaptive_max_pool2d_with_indices,adaptive_max_pool3d_with_indices
        fractional_max_pool=fractional_max_pool2d,fractional_max_pool3d,fractional_max_pool2d_with_indices,fractional_max_pool3d_with_indices
    """,
    "reduce": """
        mean=nanmean sum=nansum amax amin max min norm=linalg_norm,linalg_vector_norm,vector_norm,matrix_norm,frobenius_norm std var std_mean
        var_mean logsumexp prod median=nanmedian mode argmax argmin any all count_nonzero aminmax cosine_similarity
        pairwise_distance cdist=_cdist_forward,_euclidean_dist quantile=nanquantile
    """,
    "add": """
        add=__add__,__radd__,__iadd__,_add_relu sub=__sub__,__rsub__,__isub__,rsub,subtract lerp maximum minimum=fmin,fmax
        logical_or=logical_xor,bitwise_or,bitwise_xor,__or__,__xor__,__ior__ logaddexp=logaddexp2
    """,
    "mul": """
        mul=__mul__,__rmul__,__imul__,multiply div=__div__,__rdiv__,__idiv__,__truediv__,__rtruediv__,__itruediv__,divide,true_divide
        logical_and=bitwise_and,__and__,__rand__,__iand__ addcmul=addcdiv atan2=arctan2 xlogy
    """,
    "cat": "cat=concat,concatenate hstack=column_stack vstack dstack",
    "stack": "stack",
    "reshape": """
        reshape=view,view_copy,_unsafe_view,reshape_as,view_as,_reshape_alias flatten ravel unflatten
        squeeze unsqueeze atleast_1d=atleast_2d,atleast_3d as_strided fold=col2im
    """,
    "permute": "permute=movedim,moveaxis transpose=swapaxes,swapdims,t,T,mT,H,mH,adjoint,numpy_T,matrix_H",
    "slice": """
        getitem=__getitem__,slice,index select narrow=narrow_copy index_select gather take take_along_dim split=split_with_sizes,tensor_split,hsplit,vsplit,dsplit,unsafe_split,unsafe_split_with_sizes
        chunk=unsafe_chunk unbind diagonal=diag,diag_embed masked_select
        roi=roi_align,roi_pool,ps_roi_align,ps_roi_pool
    """,
    "expand": "expand=expand_as,broadcast_to,expand_copy repeat=tile,repeat_interleave meshgrid=broadcast_tensors",
    "pad": "pad=constant_pad_nd,reflection_pad1d,reflection_pad2d,reflection_pad3d,replication_pad1d,replication_pad2d,replication_pad3d,_pad_circular",
    "interpolate": """
        interpolate=upsample,upsample_nearest,upsample_bilinear,upsample_nearest1d,upsample_nearest2d,upsample_nearest3d,upsample_linear1d,upsample_bilinear2d,upsample_bicubic2d,upsample_trilinear3d,_upsample_nearest_exact1d,_upsample_nearest_exact2d,_upsample_nearest_exact3d,_upsample_bilinear2d_aa,_upsample_bicubic2d_aa
        max_unpool=max_unpool1d,max_unpool2d,max_unpool3d
    """,
    "pixel_shuffle": "pixel_shuffle",
    "pixel_unshuffle": "pixel_unshuffle",
    "unfold": "unfold=im2col",
    "matmul": """
        matmul=__matmul__,__rmatmul__,mm,bmm,mv,linalg_matmul addmm baddbmm=addbmm einsum tensordot outer=ger
        dot=inner,vdot,linalg_vecdot grouped_mm=_grouped_mm,_scaled_mm
    """,
    "attention": "scaled_dot_product_attention=_scaled_dot_product_flash_attention,_scaled_dot_product_efficient_attention,_scaled_dot_product_flash_attention_for_cpu,_scaled_dot_product_attention_math flex_attention",
    "multi_head_attention": "multi_head_attention_forward=_native_multi_head_attention",
    "recurrent": "lstm gru rnn=rnn_tanh,rnn_relu lstm_cell gru_cell rnn_cell=rnn_tanh_cell,rnn_relu_cell",
    "embedding": "embedding embedding_bag=_embedding_bag",
    "write": """
        setitem=__setitem__ index_put=_index_put_impl index_copy index_add index_fill scatter scatter_add scatter_reduce copy
        masked_scatter slice_scatter select_scatter put diagonal_scatter index_reduce
    """,
    "zero": """
        zeros_like ones_like full_like empty_like rand_like randn_like randint_like new_zeros new_ones new_full new_empty new_tensor fill zero
        zeros ones full empty arange new_empty_strided empty_strided bincount
    """,
    "item": "item",
    "opaque": "opaque",
}


@dataclass(frozen=True, slots=True)
class Op:
    """A row of the table.

    Attributes:
        name: canonical name.
        rule: the rule that lowers it.
        spellings: every name under which a model may call it.
        attrs: for user rules, a function from the call to the numbers the rule needs; else None.
    """

    name: str
    rule: RuleName
    spellings: tuple[str, ...]
    attrs: Callable[..., Mapping[str, Any]] | None = None


class Registry:
    """The table, growing by :meth:`register`. A spelling belongs to one row; a second claim raises."""

    def __init__(self) -> None:
        self._ops: dict[str, Op] = {}
        self._by_spelling: dict[str, Op] = {}
        self._lock = threading.Lock()

    def register(self, op: Op) -> None:
        """Add a row.

        Raises:
            RuleError: if the rule does not exist, or a name or spelling is taken.
        """
        if op.rule not in get_args(RuleName):
            raise RuleError(
                f"op {op.name!r}: no rule named {op.rule!r}; expected one of {', '.join(get_args(RuleName))}"
            )
        with self._lock:
            if op.name in self._ops:
                raise RuleError(f"op {op.name!r} is registered already (rule {self._ops[op.name].rule!r})")
            for spelling in op.spellings:
                if spelling in self._by_spelling:
                    raise RuleError(
                        f"spelling {spelling!r} belongs to op {self._by_spelling[spelling].name!r} already"
                    )
            self._ops[op.name] = op
            self._by_spelling.update(dict.fromkeys(op.spellings, op))

    def unregister(self, name: str) -> None:
        """Take a row out again; unknown names are ignored."""
        with self._lock:
            op = self._ops.pop(name, None)
            for spelling in op.spellings if op else ():
                self._by_spelling.pop(spelling, None)

    def by_spelling(self, spelling: str) -> Op | None:
        """The row a spelling belongs to, or None."""
        return self._by_spelling.get(spelling)

    def __getitem__(self, name: str) -> Op:
        return self._ops[name]

    def __contains__(self, name: str) -> bool:
        return name in self._ops

    def __iter__(self) -> Iterator[Op]:
        return iter(self._ops.values())

    def __len__(self) -> int:
        return len(self._ops)


def _built_in() -> Registry:
    registry = Registry()
    for rule, text in _TEXT.items():
        for entry in text.split():
            name, _, others = entry.partition("=")
            spellings = dict.fromkeys([name, *filter(None, others.split(","))])
            registry.register(Op(name, rule, tuple(spellings)))  # type: ignore[arg-type]
    return registry


OPS = _built_in()
"""The table in force."""


def canonical(spelling: str) -> str:
    """``"Tensor.add_"`` → ``"add"``-like base name: namespace and in-place underscore removed."""
    name = spelling.rsplit(".", 1)[-1].rsplit("::", 1)[-1]
    if name.endswith("_") and not name.endswith("__"):
        name = name[:-1]
    return name


def lookup(spelling: str) -> Op | None:
    """The row for a spelling, however it is qualified; None when unknown."""
    return OPS.by_spelling(canonical(spelling))


def table() -> list[dict[str, str]]:
    """The table as plain rows: op, rule, spellings."""
    return [{"op": op.name, "rule": op.rule, "spellings": ", ".join(op.spellings)} for op in OPS]
